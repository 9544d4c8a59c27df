// `npm run build`: src/ as plain JavaScript with types in dist/, and beside it what is read as a file. npm runs it before it packs, and
// `--clean` afterwards: in the repository the sources run as they are, and nothing else may be taken for them.
import { execFileSync } from 'node:child_process'
import { cpSync, globSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Builds into `to`, which is emptied first. */
export const build = (to: string): void => {
  rmSync(to, { recursive: true, force: true })
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', to], { stdio: 'inherit' })
  for (const file of globSync('**/*.{lua,css,svg,js,json}', { cwd: join(root, 'src') }))
    cpSync(join(root, 'src', file), join(to, file))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dist = join(root, 'dist')
  if (process.argv.includes('--clean')) rmSync(dist, { recursive: true, force: true })
  else build(dist)
}
