// Starts what the demo needs, in one process: the identity provider, the billing API, and Holdpoint between them, configured from a file.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { serve } from '../serve.ts'
import { type Billing, startBilling } from './billing.ts'
import {
  agent,
  billingKey,
  configuration,
  consoleAudience,
  consoleRedirect,
  gateAudience,
  type Ports,
  people,
} from './cast.ts'
import { startIdp } from './idp.ts'
import { isFree } from './ports.ts'

// Everything of an earlier demo in it is removed at the start: its people and keys are gone anyway.
const folder = 'demo'

export type House = {
  readonly gate: string
  readonly console: string
  readonly admin: string
  readonly issuer: string
  readonly billing: Billing
  /** Where the configuration was written. */
  readonly config: string
  /** A file with the agent's token, for a line to try. */
  readonly tokenFile: string
  readonly token: string
  close(): Promise<void>
}

/** Throws an Error that names the taken port and says how to move. */
export const openHouse = async (dir: string, ports: Ports): Promise<House> => {
  for (const [what, port] of Object.entries(ports)) {
    if (!(await isFree(port))) {
      throw new Error(
        `Port ${port} (${what}) is taken on 127.0.0.1. Stop what listens there, or move the whole demo: npm start -- --port-base 18080`,
      )
    }
  }
  const closing: (() => Promise<void>)[] = []
  const close = async (): Promise<void> => {
    for (const end of closing.splice(0).reverse()) await end()
  }
  try {
    const config = join(dir, 'demo.yaml')
    const state = join(dir, folder)
    await rm(state, { recursive: true, force: true })
    await mkdir(state, { recursive: true })
    await writeFile(config, configuration(ports, folder))

    const idp = await startIdp({
      port: ports.idp,
      people: Object.values(people),
      clients: [agent],
      consoleRedirect: [consoleRedirect(ports)],
      gateAudience,
      consoleAudience,
    })
    closing.push(idp.close)
    const billing = await startBilling({ port: ports.billing, key: billingKey })
    closing.push(billing.close)
    const running = await serve({
      config,
      env: { ...process.env, HOLDPOINT_LOG: process.env.HOLDPOINT_LOG ?? 'error' },
    })
    closing.push(running.close)

    const token = await agentToken(idp.issuer)
    const tokenFile = join(state, 'agent.token')
    await writeFile(tokenFile, token, { mode: 0o600 })
    const { gate, console, admin } = running
    return { gate, console, admin, issuer: idp.issuer, billing, config, tokenFile, token, close }
  } catch (error) {
    await close()
    throw error
  }
}

const agentToken = async (issuer: string): Promise<string> => {
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${agent.id}:${agent.secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  })
  const { access_token: token } = (await answer.json()) as { access_token?: string }
  if (token === undefined) throw new Error(`The demo's identity provider gave the agent no token (${answer.status}).`)
  return token
}
