// Certificates for tests, made with openssl in a folder of their own: a CA, and what it or nobody signed.
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export type Pair = { readonly cert: string; readonly key: string }

export type Certificates = {
  readonly dir: string
  /** Path and text of the CA's certificate. */
  readonly ca: string
  readonly caText: string
  /** Makes a pair for these names; answers the paths. */
  make(file: string, names: readonly string[], by?: 'ca' | 'itself'): Promise<Pair>
  text(path: string): Promise<string>
  close(): Promise<void>
}

const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

export const makeCertificates = async (): Promise<Certificates> => {
  const dir = await mkdtemp(join(tmpdir(), 'holdpoint-tls-'))
  const at = (name: string): string => join(dir, name)
  const openssl = (...args: string[]): Promise<unknown> => run('openssl', args, { timeout: 20_000 })
  await openssl(
    'req',
    '-x509',
    ...curve,
    '-days',
    '2',
    '-subj',
    '/CN=Test CA',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
  )
  return {
    dir,
    ca: at('ca.crt'),
    caText: await readFile(at('ca.crt'), 'utf8'),
    async make(file, names, by = 'ca') {
      const pair = { cert: at(`${file}.crt`), key: at(`${file}.key`) }
      const subject = `subjectAltName=${names.map(name => (/^[\d.]+$/.test(name) ? `IP:${name}` : `DNS:${name}`)).join(',')}`
      const common = [...curve, '-subj', `/CN=${names[0]}`, '-keyout', pair.key]
      if (by === 'itself') {
        await openssl('req', '-x509', ...common, '-days', '2', '-addext', subject, '-out', pair.cert)
        return pair
      }
      await openssl('req', ...common, '-out', at(`${file}.csr`))
      await writeFile(at(`${file}.ext`), subject)
      await openssl(
        ...['x509', '-req', '-in', at(`${file}.csr`), '-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-days', '2'],
        ...['-extfile', at(`${file}.ext`), '-out', pair.cert],
      )
      return pair
    },
    text: path => readFile(path, 'utf8'),
    close: () => rm(dir, { recursive: true, force: true }),
  }
}
