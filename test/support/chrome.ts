// The system's Chromium without a window, for the tests and the pictures of the console. It talks to nobody by itself.
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** @throws an Error that says so where there is no `chromium` in PATH */
export const startChrome = async (): Promise<Browser> => {
  const folders = process.env.PATH?.split(':') ?? []
  const executablePath = folders.map(folder => `${folder}/chromium`).find(existsSync)
  if (executablePath === undefined) throw new Error('there is no chromium in PATH')
  return chromium.launch({ executablePath, args: flags })
}
