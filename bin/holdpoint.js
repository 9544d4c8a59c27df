#!/usr/bin/env node
// Starts Holdpoint. Plain JavaScript, so that an older Node says what is wrong instead of failing to parse.
import '../scripts/ready.js'

const { main } = await import('../src/main.ts')
await main(process.argv)
