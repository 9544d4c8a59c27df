// The console's three static files, read once and served from memory under names that carry their hash, so that they never go stale.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Route } from './route.ts'

const types = { css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8', svg: 'image/svg+xml' } as const

const load = (name: string, type: keyof typeof types) => {
  const bytes = readFileSync(new URL(`assets/${name}.${type}`, import.meta.url))
  const hash = createHash('sha256').update(bytes).digest('hex').slice(0, 16)
  return { path: `/assets/${name}.${hash}.${type}`, type: types[type], bytes }
}

const files = { css: load('console', 'css'), js: load('console', 'js'), icon: load('icon', 'svg') }

/** Where pages find them. */
export const assets = { css: files.css.path, js: files.js.path, icon: files.icon.path }

export const assetRoutes: readonly Route[] = Object.values(files).map(({ path, type, bytes }) => ({
  method: 'GET',
  path,
  answer: async () =>
    new Response(new Uint8Array(bytes), {
      headers: { 'Content-Type': type, 'Cache-Control': 'public, max-age=31536000, immutable' },
    }),
}))
