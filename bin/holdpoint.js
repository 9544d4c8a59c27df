#!/usr/bin/env node
// Starts Holdpoint. Plain JavaScript, so that an older Node says what is wrong instead of failing to parse.
// In the repository the sources run as they are; a package or an image has only what was built from them.
import '../scripts/ready.js'
import { existsSync } from 'node:fs'

const sources = new URL('../src/main.ts', import.meta.url)
const { main } = await import(existsSync(sources) ? sources.href : '../dist/main.js')
await main(process.argv)
