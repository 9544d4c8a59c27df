// Reads the configuration: one YAML file and the rule files that it names become one immutable snapshot, or the list of everything
// that is wrong with them. Nothing starts on a bad file. Paths in a file are relative to the folder of the configuration file.
import { basename, dirname, join, resolve } from 'node:path'
import type { z } from 'zod'
import { checkUrls } from './config/aws.ts'
import { withCertificates } from './config/certificates.ts'
import { buildChannels } from './config/channels.ts'
import { type Doubt, doubts } from './config/doubts.ts'
import { filesOf, isGlob, type Looked, readText } from './config/files.ts'
import { hashOf } from './config/hash.ts'
import { interpolate, literalKeys } from './config/interpolate.ts'
import { buildIssuer, checkIdentities } from './config/issuers.ts'
import * as parts from './config/parts.ts'
import { buildRules, type RuleFile, ruleFile } from './config/rules.ts'
import * as ruleSchema from './config/rules-schema.ts'
import * as schema from './config/schema.ts'
import { type Finding, type Path, readSource, type Source } from './config/source.ts'
import { type Reader, reader } from './config/strict.ts'
import { loadKinds } from './judge.ts'
import type { Settings } from './settings.ts'

export type { Finding }

export type Loaded =
  | { readonly settings: Settings; readonly warnings: readonly Finding[] }
  | { readonly problems: readonly Finding[] }

/** Reads a configuration. `env` is what `${env:NAME}` reads. Never throws for what is in the files. */
export const loadSettings = async (file: string, env: Record<string, string | undefined>): Promise<Loaded> =>
  (await readSettings(file, env)).loaded

export type Read = { readonly loaded: Loaded; readonly looked: Looked }

/** As `loadSettings`, and says which files that took. */
export const readSettings = async (file: string, env: Record<string, string | undefined>): Promise<Read> => {
  const contents = new Map<string, string | undefined>()
  const globs = new Map<string, readonly string[]>()
  const order: string[] = []
  const problems: Finding[] = []
  const warnings: Finding[] = []
  const folder = dirname(resolve(file))
  const shown = dirname(file)
  const looked = { folder, globs, contents }

  const open = async (path: string, name: string): Promise<Opened | undefined> => {
    const text = await readText(path)
    contents.set(path, text instanceof Error ? undefined : text)
    order.push(name)
    if (text instanceof Error) {
      problems.push({
        file: name,
        line: 1,
        column: 1,
        message: `this file cannot be read (${(text as NodeJS.ErrnoException).code ?? 'unknown'})`,
      })
      return undefined
    }
    const source = readSource(name, text)
    problems.push(...source.problems)
    if (source.problems.length > 0) return undefined
    if (!isMapping(source.value)) {
      problems.push(source.finding([], 'a configuration is a mapping (key: value)'))
      return undefined
    }
    // What is said of the place of a missing value would only follow from that.
    const missing = new Set<string>()
    const spot = ({ line, column }: Finding): string => `${line}:${column}`
    const say = (at: Path, message: string): void => {
      const finding = source.finding(at, message)
      missing.add(spot(finding))
      problems.push(finding)
    }
    const read = (path: string, content: string | undefined): unknown => contents.set(path, content)
    const interpolated = (await interpolate(source.value, { folder, env, say, read })) as Mapping
    const value = await withCertificates(interpolated, { folder, say, read })
    warnings.push(...literals(source, source.value))
    return {
      source,
      raw: source.value,
      value,
      reader: reader(source, finding => {
        if (!missing.has(spot(finding))) problems.push(finding)
      }),
    }
  }

  const main = await open(resolve(file), file)
  if (main === undefined) return { loaded: { problems }, looked }
  const from = await ruleSources(
    main,
    async glob => {
      const found = await filesOf(glob, folder)
      globs.set(glob, found)
      return found
    },
    async path => open(resolve(folder, path), join(shown, path)),
    problems,
    warnings,
  )
  const settings = build(main, from, { file, folder, hash: hashOf(...textsOf(main.source, from, shown)) })
  if (problems.length > 0 || settings === undefined) return { loaded: { problems: inOrder(problems, order) }, looked }
  await loadKinds(settings.upstreams)
  return { loaded: { settings, warnings: inOrder([...warnings, ...placed(settings, main, from)], order) }, looked }
}

type Mapping = { readonly [key: string]: unknown }

/** A file as it was read. `raw` is its value before interpolation. */
type Opened = { readonly source: Source; readonly raw: Mapping; readonly value: Mapping; readonly reader: Reader }

const isMapping = (value: unknown): value is Mapping =>
  value !== null && typeof value === 'object' && !Array.isArray(value)

/** Rules and what belongs to them are never interpolated; whoever writes a reference there should know. */
const literals = (source: Source, value: Mapping): Finding[] => {
  const find = (part: unknown, path: Path): Finding[] => {
    if (typeof part === 'string')
      return /\$\{(env|file):/.test(part)
        ? [
            source.finding(
              path,
              'this stays as it is written: nothing is interpolated in rules, reviewers, defaults, callers and tests',
            ),
          ]
        : []
    if (part === null || typeof part !== 'object') return []
    return Object.entries(part).flatMap(([key, member]) =>
      find(member, [...path, Array.isArray(part) ? Number(key) : key]),
    )
  }
  return [...literalKeys].flatMap(key => find(value[key], [key]))
}

// ---- files with rules

/** The rules of the configuration file itself, and then those of the files that it names, in byte order of their names. */
const ruleSources = async (
  main: Opened,
  find: (glob: string) => Promise<readonly string[]>,
  open: (path: string) => Promise<Opened | undefined>,
  problems: Finding[],
  warnings: Finding[],
): Promise<RuleFile[]> => {
  const given = main.value.rules
  const globs =
    typeof given === 'string'
      ? [given]
      : Array.isArray(given) && given.some(item => typeof item === 'string')
        ? given
        : []
  const inline = ruleFile(
    main.source,
    main.reader,
    globs.length === 0 ? main.value : { ...main.value, rules: undefined },
  )
  if (given !== undefined && typeof given !== 'string' && !Array.isArray(given)) return [inline]
  const paths = new Set<string>()
  for (const [index, glob] of globs.entries()) {
    const path = typeof given === 'string' ? ['rules'] : ['rules', index]
    if (typeof glob !== 'string') {
      problems.push(
        main.source.finding(path, 'rules must be files or the rules themselves, not both; move the rules into a file'),
      )
      continue
    }
    const found = await find(glob)
    if (found.length === 0)
      (isGlob(glob) ? warnings : problems).push(main.source.finding(path, `no file is called "${glob}"`))
    for (const one of found) paths.add(one)
  }
  const ordered = [...paths].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
  const files: RuleFile[] = [inline]
  for (const path of ordered) {
    const opened = await open(path)
    if (opened === undefined) continue
    opened.reader.read(ruleSchema.keys, opened.value, [])
    files.push(ruleFile(opened.source, opened.reader, opened.value))
  }
  return files
}

/** Names and texts of all files, as they are hashed. */
const textsOf = (main: Source, files: readonly RuleFile[], shown: string): string[] => {
  const others = files
    .filter(({ source }) => source !== main)
    .flatMap(({ source }) => [source.file.slice(shown === '.' ? 0 : shown.length + 1), source.text])
  return [basename(main.file), main.text, ...others]
}

// ---- the snapshot

const build = (
  main: Opened,
  files: readonly RuleFile[],
  about: { readonly file: string; readonly folder: string; readonly hash: string },
): Settings | undefined => {
  const { value, reader } = main
  reader.read(schema.keys, value, [])
  const section = <K extends keyof typeof schema.sections>(key: K): z.output<(typeof schema.sections)[K]> | undefined =>
    reader.read(schema.sections[key], value[key], [key]) as z.output<(typeof schema.sections)[K]> | undefined
  const items = <T extends z.ZodType>(key: string, item: T): parts.Placed<z.output<T>>[] => {
    const list = value[key] ?? []
    if (!Array.isArray(list)) reader.say([key], `${key} must be a list`)
    return (Array.isArray(list) ? list : []).flatMap((one, index) => {
      const read = reader.read(item, one, [key, index])
      return read === undefined ? [] : [{ value: read, path: [key, index] }]
    })
  }

  section('version')
  section('mode')
  if (value.rules !== undefined && typeof value.rules !== 'string' && !Array.isArray(value.rules)) section('rules')
  const gateSection = section('gate')
  const gate = gateSection && parts.buildGate(reader, gateSection)
  const consoleSection = section('console')
  const console = consoleSection && parts.buildConsole(reader, consoleSection)
  const admin = section('admin')
  const keys = section('keys')
  parts.checkKeys(reader, keys)
  const storeSection = section('store')
  const store =
    storeSection === undefined
      ? undefined
      : parts.buildStore(reader, storeSection, about.folder, value.keys === undefined ? undefined : '')
  const auditSection = section('audit')
  const audit = auditSection && parts.buildAudit(reader, auditSection, about.folder)
  const issuers = items('issuers', schema.issuer).map(one => ({
    value: buildIssuer(reader, one, about.folder),
    path: one.path,
  }))
  const people = items('people', schema.person)
  const channelSection = section('channels')
  const channels = channelSection && buildChannels(reader, channelSection)
  const channelNames = Object.keys(isMapping(value.channels) ? value.channels : {})
  checkIdentities(reader, issuers, console, people, channelNames)
  const limits = gate?.limits ?? schema.defaultLimits
  const upstreams = items('upstreams', schema.upstream).map(one => ({
    value: parts.buildUpstream(
      reader,
      one,
      (main.raw.upstreams as readonly unknown[])[one.path[1] as number],
      limits,
      about.folder,
    ),
    path: one.path,
  }))
  checkUrls(reader, value.upstreams)
  parts.checkUpstreams(reader, upstreams)
  parts.checkListeners(reader, { gate: gate?.listen, console: console?.listen, admin: admin?.listen })

  const names = (key: 'issuers' | 'upstreams'): string[] =>
    (Array.isArray(value[key]) ? value[key] : []).map(one => String((one as { name?: unknown } | null)?.name))
  const rules = buildRules(files, {
    logins: console?.login.map(({ name }) => name),
    issuers: names('issuers'),
    upstreams: upstreams.map(one => one.value),
    upstreamNames: names('upstreams'),
    people: people.map(one => one.value),
    channels: channelNames,
  })
  if (
    gate === undefined ||
    console === undefined ||
    admin === undefined ||
    store === undefined ||
    audit === undefined ||
    channels === undefined ||
    gateSection === undefined
  )
    return undefined
  return {
    hash: about.hash,
    file: about.file,
    loadedAt: Date.now(),
    gate,
    console,
    admin,
    store,
    keys,
    issuers: issuers.map(one => one.value),
    people: people.map(one => one.value),
    upstreams: upstreams.map(one => one.value),
    ...rules,
    ruleFiles: files
      .filter(({ source, rules }) => source !== main.source || rules.length > 0)
      .map(({ source }) => source.file),
    channels,
    audit,
    tokenGraceMs: gateSection.tokenGrace,
  }
}

const placeOf = (doubt: Exclude<Doubt, { readonly rule: string }>, settings: Settings): Path =>
  'issuer' in doubt
    ? ['issuers', settings.issuers.findIndex(({ name }) => name === doubt.issuer), 'introspect']
    : ['upstreams', settings.upstreams.findIndex(({ name }) => name === doubt.upstream), 'url']

/** Doubts about a configuration that is otherwise good, where they are written. */
const placed = (settings: Settings, main: Opened, files: readonly RuleFile[]): Finding[] => {
  const rules = new Map(
    files.flatMap(({ source, rules }) =>
      rules.map(({ name, path }) => [name, source.finding([...path, 'name'], '')] as const),
    ),
  )
  const found = doubts(settings).map(doubt => {
    const at = 'rule' in doubt ? rules.get(doubt.rule) : main.source.finding(placeOf(doubt, settings), '')
    return { ...(at ?? main.source.finding([], '')), message: doubt.message }
  })
  if (settings.rules.length === 0)
    found.push(main.source.finding(['rules'], 'there are no rules: every call is denied'))
  return found
}

/** Without repetitions; files stay in the order in which they were read. */
const inOrder = (findings: readonly Finding[], files: readonly string[]): Finding[] =>
  [...new Map(findings.map(finding => [JSON.stringify(finding), finding])).values()].sort(
    (one, other) =>
      files.indexOf(one.file) - files.indexOf(other.file) || one.line - other.line || one.column - other.column,
  )
