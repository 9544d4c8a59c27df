// What channels were told of one hold, as it waits in the store's outbox: signed, so that nobody who writes to the store can point a message
// at another hold. By it any replica goes on where another one stopped.
import type { Hold } from './nouns.ts'
import type { Parts } from './parts.ts'
import type { KeyRing } from './seal.ts'

export type Told = {
  /** Keys of the steps that are done with: told, passed over for a newer one, or given up. */
  readonly said: readonly string[]
  /** What the channel answered last. */
  readonly reference?: string
  /** The step that is being told, or that may have arrived: nobody knows until the channel was asked. */
  readonly trying?: string
  readonly tries: number
  readonly notBeforeAt?: number
  /** Why it could not be told; gone with the next success. */
  readonly trouble?: string
}

export type Sheet = { readonly [channel: string]: Told }

export const nothingTold: Told = { said: [], tries: 0 }

const place = (hold: string): string => `outbox ${hold}`

export const signSheet = (keys: KeyRing, hold: string, channels: Sheet): string =>
  keys.sign(JSON.stringify({ version: 1, channels }), place(hold))

/** A sheet that is not ours tells nothing: undefined. */
export const readSheet = (keys: KeyRing, hold: string, value: string): Sheet | undefined => {
  const payload = keys.verify(value, place(hold))
  if (payload === undefined) return undefined
  const { version, channels } = JSON.parse(payload) as { version: number; channels: Sheet }
  return version === 1 ? channels : undefined
}

/** Why nobody was told of a pending hold, if every one of these channels was tried and none could be reached. */
export const unreachedOf = async (
  { store, keys }: Pick<Parts, 'store' | 'keys'>,
  hold: Hold,
  channels: readonly string[],
): Promise<string | undefined> => {
  const { id } = hold.head
  if (hold.state !== 'pending' || channels.length === 0) return undefined
  const value = await store.outbox.get(id)
  const sheet = value === undefined ? undefined : readSheet(keys, id, value)
  const troubles = channels.map(name => sheet?.[name]?.trouble)
  if (troubles.some(trouble => trouble === undefined)) return undefined
  return `No channel could be reached: ${channels.map((name, index) => `${name} (${troubles[index]})`).join(', ')}.`
}
