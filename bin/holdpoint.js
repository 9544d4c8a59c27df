#!/usr/bin/env node
// Starts Holdpoint. Plain JavaScript, so that an older Node says what is wrong instead of failing to parse.
// In the repository the sources run as they are; a package or an image has only what was built from them.
import '../scripts/ready.js'
import { existsSync, mkdirSync } from 'node:fs'
import module from 'node:module'
import { fileURLToPath } from 'node:url'

// What V8 made of the program is kept beside the program, which halves the time of the next start. Never in a folder for temporary files,
// where somebody else could lay code for us: who may write here may write the program itself. Where nobody may, nothing is kept.
const directory = fileURLToPath(new URL('../.cache', import.meta.url))
try {
  mkdirSync(directory, { mode: 0o700 })
} catch {
  // It is there already, or may not be.
}
module.enableCompileCache({ directory, portable: true })

const sources = new URL('../src/main.ts', import.meta.url)
const { main } = await import(existsSync(sources) ? sources.href : '../dist/main.js')
await main(process.argv)
