// `holdpoint demo` (npm start): an identity provider, an internal API and Holdpoint between them, and a story to take part in.
// `--once` plays it to the end with nobody there and says by its exit code whether everything was as it should be.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { Ports } from './demo/cast.ts'
import { type House, openHouse } from './demo/house.ts'
import { alone, opening, withPeople } from './demo/play.ts'
import { freePorts } from './demo/ports.ts'
import { address, type Say, terminal } from './demo/say.ts'

type Options = { readonly once?: boolean; readonly portBase: string }

/** Adds the command to the program. */
export const demo = (program: Command): void => {
  program
    .command('demo')
    .description(
      'try Holdpoint: starts an identity provider, an API and the gate on this machine, and plays a call that needs approval',
    )
    .option('--once', 'play everything unattended, check every step, and end with 0 or 1')
    .option(
      '--port-base <port>',
      'the first of the ports: gate, console, identity provider, API, and 1010 above it the admin port',
      '8080',
    )
    .action(async (options: Options) => {
      try {
        process.exitCode = await (options.once ? once() : attended(options.portBase))
      } catch (error) {
        process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
        process.exitCode = 1
      }
    })
}

const attended = async (base: string): Promise<number> => {
  const first = Number(base)
  if (!/^\d+$/.test(base) || first < 1 || first > 64_000)
    throw new Error('--port-base: give a port between 1 and 64000, such as 18080.')
  const house = await openHouse('data', portsFrom(first))
  const ended = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort())
  const say = terminal()
  try {
    introduce(house, say)
    await withPeople(house, say, await opening(house, say), ended.signal)
    await new Promise<void>(resolve => {
      if (ended.signal.aborted) resolve()
      ended.signal.addEventListener('abort', () => resolve(), { once: true })
    })
  } catch (error) {
    if (!ended.signal.aborted) throw error
  } finally {
    await house.close()
  }
  return 0
}

const once = async (): Promise<number> => {
  const dir = await mkdtemp(join(tmpdir(), 'holdpoint-demo-'))
  const [gate = 0, console = 0, admin = 0, idp = 0, billing = 0] = await freePorts(5)
  const house = await openHouse(dir, { gate, console, admin, idp, billing })
  const ended = new AbortController()
  const say = terminal()
  try {
    introduce(house, say)
    await alone(house, say, await opening(house, say), ended.signal)
  } finally {
    ended.abort()
    await house.close()
    await rm(dir, { recursive: true, force: true })
  }
  const failed = say.failed()
  say.line()
  say.line(failed === 0 ? 'Every step was as it should be.' : `${failed} ${failed === 1 ? 'check' : 'checks'} failed.`)
  return failed === 0 ? 0 : 1
}

const portsFrom = (first: number): Ports => ({
  gate: first,
  console: first + 1,
  idp: first + 2,
  billing: first + 3,
  admin: first + 1010,
})

const introduce = (house: House, say: Say): void => {
  say.line('Holdpoint demo. Everything runs on this machine, and nothing of it is secret.')
  say.line()
  say.line(`gate       ${address(house.gate)}     what the agent calls`)
  say.line(`console    ${address(house.console)}     where people decide`)
  say.line(`admin      ${address(house.admin)}     health`)
  say.line(`identity   ${address(house.issuer)}     a real OpenID provider; choose who you are`)
  say.line(`billing    ${address(house.billing.url)}     the API behind the gate`)
  say.line()
  say.line(`The configuration was written to ${house.config}.`)
}
