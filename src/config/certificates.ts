// The files that `tls` names, read with the configuration: they are followed like it, and nothing starts on a pair that does not fit.
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { z } from 'zod'
import type { ListenTls, UpstreamTls } from '../settings.ts'
import { tlsTrouble } from '../tls.ts'
import { canonical, hashOf } from './hash.ts'
import type * as schema from './schema.ts'
import type { Path } from './source.ts'
import { type Reader, spell } from './strict.ts'

const fileKeys: ReadonlySet<string> = new Set(['ca', 'cert', 'key', 'clientCa'])

export type Files = {
  readonly folder: string
  readonly say: (path: Path, message: string) => void
  /** Told of every file that was looked for, with its content. */
  readonly read: (file: string, content: string | undefined) => void
}

type Mapping = { readonly [key: string]: unknown }

const isMapping = (value: unknown): value is Mapping =>
  value !== null && typeof value === 'object' && !Array.isArray(value)

/** A copy of a configuration in which `tls` has the texts of its files. What is not as it should be stays: the schema says so. */
export const withCertificates = async (value: Mapping, using: Files): Promise<Mapping> => {
  const section = async (of: unknown, path: Path): Promise<unknown> => {
    if (!isMapping(of) || !isMapping(of.tls)) return of
    const members = Object.entries(of.tls).map(async ([key, file]) => {
      const wanted = fileKeys.has(key) && typeof file === 'string' && file !== ''
      return [key, wanted ? await contentOf(file, using, [...path, 'tls', key]) : file] as const
    })
    return { ...of, tls: Object.fromEntries(await Promise.all(members)) }
  }
  const upstreams = Array.isArray(value.upstreams)
    ? await Promise.all(value.upstreams.map((one, index) => section(one, ['upstreams', index])))
    : value.upstreams
  const given = {
    gate: await section(value.gate, ['gate']),
    console: await section(value.console, ['console']),
    upstreams,
  }
  return { ...value, ...Object.fromEntries(Object.entries(given).filter(([key]) => key in value)) }
}

const contentOf = async (name: string, { folder, say, read }: Files, path: Path): Promise<string> => {
  const file = resolve(folder, name)
  try {
    const content = await readFile(file, 'utf8')
    read(file, content)
    return content
  } catch (error) {
    read(file, undefined)
    say(path, `the file cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`)
    return 'missing'
  }
}

// ---- what was read, as the listeners and the upstreams see it

type Texts = { readonly [K in 'cert' | 'key' | 'ca']?: string | undefined }

const check = (reader: Reader, path: Path, texts: Texts): void => {
  if (Object.values(texts).includes('missing')) return
  const trouble = tlsTrouble(texts)
  if (trouble !== undefined) reader.say(path, `${spell(path)}: ${trouble}`)
}

/** The `tls` of gate or console. */
export const buildListenTls = (
  reader: Reader,
  section: 'gate' | 'console',
  value: z.output<typeof schema.listenTls> | undefined,
): ListenTls | undefined => {
  if (value === undefined) return undefined
  const { cert, key, clientCa, clientCert } = value
  check(reader, [section, 'tls'], { cert, key, ca: clientCa })
  if (clientCert === 'required' && clientCa === undefined)
    reader.say([section, 'tls', 'clientCert'], `${section}.tls.clientCert needs a clientCa to judge them by`)
  return { cert, key, clientCa, clientCert }
}

/** The `tls` of an upstream. */
export const buildUpstreamTls = (
  reader: Reader,
  value: z.output<typeof schema.upstream>['tls'],
  url: string,
  path: Path,
): UpstreamTls | undefined => {
  if (value === undefined) return undefined
  const { ca, cert, key, serverName } = value
  if (!url.startsWith('https:')) reader.say(path, 'tls is for an upstream with an https url')
  check(reader, path, { ca, cert, key })
  return { ca, cert, key, serverName, id: hashOf(canonical([ca, cert, key, serverName])) }
}
