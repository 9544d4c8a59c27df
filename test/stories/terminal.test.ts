// A reviewer at a terminal: signs in with a browser elsewhere, lists, reads and follows what waits, and is led to the page to decide. What lies
// on the disk is for its owner alone, and decides nothing.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { registerApprove } from '../../src/commands/approve.ts'
import { browser } from '../../src/commands/demo/browser.ts'
import { reviewerClient } from '../../src/commands/demo/idp.ts'
import { registerDeny } from '../../src/commands/deny.ts'
import { registerHolds } from '../../src/commands/holds.ts'
import { registerLogin } from '../../src/commands/login.ts'
import { registerShow } from '../../src/commands/show.ts'
import { registerWatch } from '../../src/commands/watch.ts'
import { consoleAudience, people } from '../support/people.ts'
import { runHoldpoint, startHoldpoint } from '../support/program.ts'
import { type Stage, startStage } from '../support/stage.ts'

const bin = fileURLToPath(new URL('../../bin/holdpoint.js', import.meta.url))

// Many processes one after the other, and a provider that is asked every five seconds.
vi.setConfig({ testTimeout: 180_000 })

let stage: Stage
let home: string
const running = new Set<ChildProcess>()

beforeAll(async () => {
  stage = await startStage()
})
afterAll(() => stage.close())
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'holdpoint-home-'))
})
afterEach(async () => {
  for (const child of running) child.kill('SIGKILL')
  await rm(home, { recursive: true, force: true })
})

const env = () => ({ XDG_CONFIG_HOME: home, HOLDPOINT_CONSOLE: '', HOLDPOINT_TOKEN: '' })
const file = () => join(home, 'holdpoint', 'sign-in.json')
const run = (...args: string[]) => runHoldpoint(args, { env: env() })

/** A command whose lines are read as they come. */
const start = (args: readonly string[], output: 'stdout' | 'stderr') => {
  const child = spawn(process.execPath, [bin, ...args], { env: { ...process.env, NO_COLOR: '1', ...env() } })
  running.add(child)
  const ended = once(child, 'close').then(([code]) => {
    running.delete(child)
    return code as number | null
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (said += chunk))
  const lines = createInterface({ input: child[output] })[Symbol.asyncIterator]()
  const next = async (fits: (line: string) => boolean): Promise<string> => {
    for (;;) {
      const { value, done } = await lines.next()
      if (done) throw new Error(`it ended: ${said}`)
      if (fits(value)) return value
    }
  }
  return { child, ended, next, said: () => said }
}

const flags = () => [
  ...['--console', stage.holdpoint.console, '--issuer', stage.idp.issuer, '--client', reviewerClient.id],
  ...['--resource', consoleAudience, '--scope', 'openid profile email groups offline_access'],
]

/** Signs a person in, in a browser of their own, at the address that the terminal shows. */
const signedIn = async (person: { readonly id: string }, args: readonly string[] = flags()) => {
  const login = start(['login', ...args], 'stderr')
  const address = (await login.next(line => line.startsWith('Open '))).replace('Open ', '')
  const jar = browser()
  const form = (text: string) =>
    Object.fromEntries(
      [...text.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)"/g)].map(([, name = '', value = '']) => [
        name,
        value,
      ]),
    )
  let page = await jar.visit(address)
  // The provider's page posts itself, then asks whether the code is the one on the terminal, then who is there.
  for (let steps = 0; steps < 5 && page.text.includes('user_code'); steps++)
    page = await jar.visit(`${stage.idp.issuer}/device`, { form: form(page.text) })
  if (page.url.includes('/sign-in/')) await jar.visit(page.url, { form: { person: person.id } })
  return { code: await login.ended, said: login.said() }
}

let count = 0
/** A call of its own: the same one would be the same hold, or its denial. */
const held = async (): Promise<string> => {
  count += 1
  const answer = await stage.call('POST', '/billing/v1/refunds', {
    body: JSON.stringify({ amount: count, password: 'canary-terminal', note: 'a\u001b[2Jb\u202ec' }),
    headers: {
      prefer: 'respond-async',
      'content-type': 'application/json',
      'holdpoint-reason': 'asked by the customer',
    },
  })
  expect(answer.status).toBe(202)
  return /(h_[A-Za-z0-9_-]{22})/.exec(answer.headers.get('location') ?? '')?.[1] ?? ''
}

test('signed in once, holds are listed, shown and followed; approve and deny lead to the page', async () => {
  const { code, said } = await signedIn(people.ana)
  expect(said).toContain(`Signed in at ${stage.holdpoint.console}`)
  expect(code).toBe(0)
  expect((await stat(file())).mode & 0o777).toBe(0o600)
  expect((await stat(dirname(file()))).mode & 0o777).toBe(0o700)

  const hold = await held()
  const listed = await run('holds')
  expect(listed.code).toBe(0)
  expect(listed.stdout.split('\n').find(line => line.startsWith(hold))).toMatch(/pending .*yours to decide/)
  const json = JSON.parse((await run('holds', '--json')).stdout) as { holds: { id: string }[] }
  expect(json.holds.map(({ id }) => id)).toContain(hold)

  const shown = await run('show', hold)
  expect(shown.stdout).toContain('POST /v1/refunds')
  expect(shown.stdout).toContain("asked by the customer (the caller's own words)")
  expect(shown.stdout).toContain(`${stage.holdpoint.console}/holds/${hold}`)
  expect(shown.stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
  expect(JSON.parse((await run('show', hold, '--json')).stdout)).toMatchObject({ id: hold, status: 'pending' })

  const watching = start(['watch'], 'stdout')
  await watching.next(line => line.startsWith(hold))
  for (const verdict of ['approve', 'deny']) {
    const led = await run(verdict, hold)
    expect(led).toMatchObject({ code: 0, stdout: `Decide here: ${stage.holdpoint.console}/holds/${hold}\n` })
    const asJson = await run(verdict, hold, '--json')
    expect(JSON.parse(asJson.stdout)).toEqual({ url: `${stage.holdpoint.console}/holds/${hold}` })
  }
  const desk = await stage.desk(people.ana)
  expect((await desk.hold(hold)).status).toBe('pending')
  await desk.deny(hold, 'no')
  expect(await watching.next(line => line.startsWith(hold))).toContain('denied')
  watching.child.kill('SIGINT')
  expect(await watching.ended).toBe(0)
  expect([listed.stdout, shown.stdout, watching.said()].join()).not.toContain('canary-terminal')

  expect((await run('logout')).stdout).toContain('Signed out.')
  await expect(stat(file())).rejects.toThrow('ENOENT')
  const out = await run('holds', '--console', stage.holdpoint.console)
  expect(out).toMatchObject({ code: 1, stdout: '' })
  expect(out.stderr).toContain('run holdpoint login')
})

test('a token that is over is renewed, once a sign-in ends it says so', async () => {
  expect((await signedIn(people.ana)).code).toBe(0)
  const before = JSON.parse(await readFile(file(), 'utf8')) as { access: string; refresh: string }
  await writeFile(file(), JSON.stringify({ ...before, expiresAt: 1 }), { mode: 0o600 })
  expect((await run('holds')).code).toBe(0)
  const after = JSON.parse(await readFile(file(), 'utf8')) as { access: string; expiresAt: number }
  expect(after.access).not.toBe(before.access)
  expect(after.expiresAt).toBeGreaterThan(Date.now())
  expect((await stat(file())).mode & 0o777).toBe(0o600)
  await writeFile(file(), JSON.stringify({ ...before, refresh: 'none', expiresAt: 1 }), { mode: 0o600 })
  expect((await run('holds')).stderr).toContain('has ended: run holdpoint login')
})

test('what others can read is not used, and a token goes to no other console', async () => {
  await mkdir(dirname(file()), { recursive: true })
  const kept = {
    version: 1,
    console: 'http://127.0.0.1:9',
    issuer: 'x',
    clientId: 'c',
    access: 'secret-token',
    expiresAt: Date.now() + 1e6,
  }
  await writeFile(file(), JSON.stringify(kept))
  await chmod(file(), 0o640)
  expect((await run('holds')).stderr).toContain('can be read by others')
  await chmod(file(), 0o600)
  const elsewhere = await run('holds', '--console', stage.holdpoint.console)
  expect(elsewhere.stderr).toContain(`you are not signed in at ${stage.holdpoint.console}`)
  await writeFile(file(), '{"version":1}')
  expect((await run('holds')).stderr).toContain('sign in again')
})

test('the place may come from the configuration; whoever the console does not take is not kept', async () => {
  const config = join(stage.holdpoint.dir, 'holdpoint.yaml')
  expect((await signedIn(people.cleo, ['--config', config])).code).toBe(0)
  expect((await run('holds')).stdout).toBe('nothing\n')
  await run('logout')
  const other = flags().map(flag => (flag === consoleAudience ? 'https://gate.test' : flag))
  const refused = await signedIn(people.ana, other)
  expect(refused.code).toBe(1)
  expect(refused.said).toContain('401')
  await expect(stat(file())).rejects.toThrow('ENOENT')
})

test('who says no at the provider is told so', async () => {
  const login = start(['login', ...flags()], 'stderr')
  const address = (await login.next(line => line.startsWith('Open '))).replace('Open ', '')
  const jar = browser()
  const form = (text: string) => /name="xsrf" value="([^"]*)"/.exec(text)?.[1] ?? ''
  const user_code = new URL(address).searchParams.get('user_code') ?? ''
  const xsrf = form((await jar.visit(address)).text)
  await jar.visit(`${stage.idp.issuer}/device`, { form: { xsrf, user_code, confirm: 'yes', abort: 'yes' } })
  expect(await login.ended).toBe(1)
  expect(login.said()).toContain('access_denied')
  await expect(stat(file())).rejects.toThrow('ENOENT')
})

test.each([
  [['login'], '--console'],
  [['login', '--console', 'http://console.acme.example'], '--console'],
  [
    ['login', '--console', 'https://c.acme.example', '--issuer', 'http://idp.acme.example', '--client', 'c'],
    '--issuer',
  ],
  [['login', '--console', 'https://c.acme.example', '--issuer', 'https://idp.acme.example'], '--client'],
  [['holds'], 'holdpoint login'],
  [['show', 'h_../../../api/x'], 'a hold id is'],
  [['approve', 'x'], 'a hold id is'],
  [['approve', `h_${'A'.repeat(22)}`, '--console', 'http://evil.example'], '--console'],
])('%j says what is wrong', async (args, what) => {
  const { code, stdout, stderr } = await run(...args)
  expect(code).toBe(1)
  expect(stdout).toBe('')
  expect(stderr).toContain(what)
})

test('watching goes on when the console comes back', async () => {
  expect((await signedIn(people.ana)).code).toBe(0)
  const watching = start(['watch', '--json'], 'stdout')
  const before = await held()
  await watching.next(line => line.includes(before))
  await stage.holdpoint.kill()
  const again = await startHoldpoint({ config: {}, dir: stage.holdpoint.dir })
  try {
    const after = await held()
    const row = JSON.parse(await watching.next(line => line.includes(after))) as object
    expect(row).toMatchObject({ id: after, status: 'pending' })
    watching.child.kill('SIGTERM')
    expect(await watching.ended).toBe(0)
  } finally {
    await again.stop()
  }
})

test('each command teaches itself', () => {
  const program = new Command('holdpoint')
  for (const register of [registerLogin, registerHolds, registerShow, registerWatch, registerApprove, registerDeny])
    register(program)
  const names = program.commands.map(command => {
    let help = ''
    command.configureOutput({ writeOut: text => (help += text) }).outputHelp()
    if (command.name() !== 'logout') expect(help).toContain(`$ holdpoint ${command.name()}`)
    return command.name()
  })
  expect(names).toEqual(['login', 'logout', 'holds', 'show', 'watch', 'approve', 'deny'])
})
