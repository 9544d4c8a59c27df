// The sign-in of whoever works at a terminal, kept in their own configuration folder for nobody else to read. Its token goes to the console it
// was made for and nowhere else; it is renewed when it is nearly over.
import { chmod, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { type DeviceClient, renew, type Tokens } from '../console/device.ts'

export type SignIn = DeviceClient & Tokens & { readonly version: 1; readonly console: string }

const spareMs = 30_000

export const signInFile = (env: NodeJS.ProcessEnv): string =>
  join(env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config'), 'holdpoint', 'sign-in.json')

export const keepSignIn = async (file: string, signIn: SignIn): Promise<void> => {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const fresh = `${file}.${process.pid}`
  await rm(fresh, { force: true })
  const handle = await open(fresh, 'wx', 0o600)
  try {
    await handle.writeFile(`${JSON.stringify(signIn)}\n`)
  } finally {
    await handle.close()
  }
  await chmod(fresh, 0o600)
  await rename(fresh, file)
}

export const forgetSignIn = (file: string): Promise<void> => rm(file, { force: true })

/** What is kept, or undefined. @throws an Error if others may read it, or it is none */
export const readSignIn = async (file: string): Promise<SignIn | undefined> => {
  let text: string
  try {
    const { mode } = await stat(file)
    if (process.platform !== 'win32' && (mode & 0o077) !== 0)
      throw new Error(`${file} can be read by others: chmod 600 it, and sign in again`)
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const kept = JSON.parse(text) as Partial<SignIn> | null
    const { version, console, issuer, clientId, access, expiresAt } = kept ?? {}
    const texts = [console, issuer, clientId, access]
    if (version === 1 && texts.every(one => typeof one === 'string') && typeof expiresAt === 'number')
      return kept as SignIn
  } catch {
    // Said below.
  }
  throw new Error(`${file} cannot be read: sign in again with holdpoint login`)
}

/** An access token that is good for now. @throws an Error that says to sign in again */
export const tokenOf = async (file: string, signIn: SignIn, now: number): Promise<string> => {
  if (now < signIn.expiresAt - spareMs) return signIn.access
  const again = `your sign-in at ${signIn.console} has ended: run holdpoint login`
  if (signIn.refresh === undefined) throw new Error(again)
  try {
    const renewed = { ...signIn, ...(await renew(signIn, signIn.refresh)) }
    await keepSignIn(file, renewed)
    return renewed.access
  } catch (cause) {
    // Another terminal may have renewed it meanwhile; a token to renew with is often good once.
    const other = await readSignIn(file)
    if (other !== undefined && other.console === signIn.console && now < other.expiresAt - spareMs) return other.access
    throw new Error(again, { cause })
  }
}
