// Forms in parts: what real clients write reads back the same, and what is spoilt is read as every other reader reads it, or not at all.
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parseBody } from '../src/body.ts'

type Field = readonly [name: string, value: string | { readonly unread: string }]

const read = (type: string, bytes: Buffer): readonly Field[] | undefined => {
  const body = parseBody([['Content-Type', type]], bytes, 1 << 20)
  return body.kind === 'multipart' ? body.fields : undefined
}

const written = async (form: FormData): Promise<{ readonly type: string; readonly bytes: Buffer }> => {
  const response = new Response(form)
  return { type: response.headers.get('content-type') ?? '', bytes: Buffer.from(await response.arrayBuffer()) }
}

const byFetch = async (type: string, bytes: Buffer): Promise<readonly Field[] | undefined> => {
  try {
    const form = await new Response(new Uint8Array(bytes), { headers: { 'content-type': type } }).formData()
    return [...form].map(([name, value]) => [name, typeof value === 'string' ? value : { unread: 'it is a file' }])
  } catch {
    return undefined
  }
}

/** As servers do that search for what they know: any line break ends a line, quotes are optional, and the last header wins. */
const carelessly = (type: string, bytes: Buffer): readonly Field[] => {
  const boundary = /boundary="?([^";,]*)/i.exec(type)?.[1] ?? ''
  const [, ...pieces] = bytes.toString('latin1').split(`--${boundary}`)
  return pieces.flatMap((piece): Field[] => {
    if (piece.startsWith('--')) return []
    const [head = '', ...rest] = piece.split(/\r?\n\r?\n/)
    const utf8 = (latin1: string): string => Buffer.from(latin1, 'latin1').toString()
    const name = [...head.matchAll(/[; \t]name *= *"?([^";\r\n]*)/gi)].at(-1)?.[1]
    if (name === undefined) return []
    if (/filename/i.test(head)) return [[utf8(name), { unread: 'it is a file' }]]
    const whole = piece.slice(head.length).replace(/^\r?\n\r?\n/, '')
    return rest.length === 0 ? [] : [[utf8(name), utf8(whole.replace(/\r?\n$/, ''))]]
  })
}

/** Where we do not read a value, nothing is said of it. */
const like = (ours: readonly Field[], theirs: readonly Field[]): readonly Field[] =>
  theirs.map(([name, value], index) => {
    const mine = ours[index]?.[1]
    return [name, typeof mine === 'object' ? mine : value]
  })

const plainName = fc.string({ unit: fc.constantFrom(...'abcXYZ019_-.[]é€ '), minLength: 1, maxLength: 12 })
const anyName = fc.oneof(plainName, fc.string({ minLength: 1 }), fc.constantFrom('a"b', 'a\r\nb', 'a;b', 'a\\', 'a%22'))
const value = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('', '\r\n', '--', '\n\n', '{"a":1}'))
const field = (name: fc.Arbitrary<string>) =>
  fc.tuple(name, value, fc.option(fc.tuple(anyName, fc.constantFrom('', 'text/plain', 'image/png')), { freq: 4 }))
const formOf = (fields: readonly (readonly [string, string, readonly [string, string] | null])[]): FormData => {
  const form = new FormData()
  for (const [name, value, file] of fields) {
    if (file === null) form.append(name, value)
    else form.append(name, new Blob([value], { type: file[1] }), file[0])
  }
  return form
}

it('a form with plain names that fetch wrote reads back the same', async () => {
  const fields = fc.array(
    fc.tuple(
      plainName,
      value.filter(text => !/[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]/.test(text)),
      fc.constant(null),
    ),
  )
  await fc.assert(
    fc.asyncProperty(fields, async given => {
      const { type, bytes } = await written(formOf(given))
      expect(read(type, bytes)).toEqual(await byFetch(type, bytes))
    }),
    { numRuns: 200 },
  )
})

it('whatever fetch wrote reads as fetch reads it, or not at all', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(field(anyName), { maxLength: 5 }), async given => {
      const { type, bytes } = await written(formOf(given))
      const ours = read(type, bytes)
      if (ours === undefined) return
      expect(ours).toEqual(like(ours, (await byFetch(type, bytes)) ?? []))
      expect(ours).toEqual(like(ours, carelessly(type, bytes)))
    }),
    { numRuns: 200 },
  )
})

it('a spoilt one reads as careful and careless readers read it, or not at all', async () => {
  const snippets = [
    '\r\n',
    '\n',
    '\r',
    '--',
    '"',
    ';',
    ' ',
    '\0',
    'name="b"',
    '; filename="x"',
    '\r\n\r\n',
    'Content-Type: text/html',
  ]
  const places = ['\r\n', '--', '"', ';', ':', 'name', 'form-data', 'Content-']
  const change = fc.record({
    place: fc.option(fc.constantFrom(...places), { freq: 1 }),
    nth: fc.nat(8),
    at: fc.nat(400),
    cut: fc.nat(4),
    put: fc.oneof(fc.constantFrom(...snippets, '§'), fc.string({ maxLength: 3 })),
  })
  let accepted = 0
  let refused = 0
  const fields = fc.array(field(plainName), { minLength: 1, maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(fields, fc.array(change, { minLength: 1, maxLength: 2 }), async (given, changes) => {
      const { type, bytes } = await written(formOf(given))
      let text = bytes.toString('latin1')
      for (const { place, nth, at, cut, put } of changes) {
        let index = at % text.length
        if (place !== null)
          for (let times = 0; times <= nth; times++) index = Math.max(0, text.indexOf(place, index + 1))
        const boundary = `--${type.split('boundary=')[1]}`
        text = text.slice(0, index) + put.replace('§', `\r\n${boundary}`) + text.slice(index + cut)
      }
      const spoilt = Buffer.from(text, 'latin1')
      const ours = read(type, spoilt)
      if (ours === undefined) {
        refused++
        return
      }
      accepted++
      const fetched = await byFetch(type, spoilt)
      if (fetched !== undefined) expect(ours).toEqual(like(ours, fetched))
      expect(ours).toEqual(like(ours, carelessly(type, spoilt)))
    }),
    { numRuns: 3_000 },
  )
  // Both happened often enough to mean something.
  expect(Math.min(accepted, refused)).toBeGreaterThan(100)
})
