// What the three ways share: the parts of a running Holdpoint, made once by serve.ts. Types only.
import type { Assertions } from './assertion.ts'
import type { Freezes } from './freezes.ts'
import type { Identify } from './identify.ts'
import type { Access, Log } from './log.ts'
import type { Meter } from './metrics.ts'
import type { Reviewer } from './nouns.ts'
import type { Recorder } from './record.ts'
import type { KeyRing } from './seal.ts'
import type { Settings } from './settings.ts'
import type { Store } from './store/store.ts'
import type { Watch } from './watch.ts'

export type Parts = {
  /** The configuration in force at this moment; take it once per call. */
  settings(): Settings
  readonly store: Store
  readonly keys: KeyRing
  readonly watch: Watch
  readonly record: Recorder
  readonly freezes: Freezes
  readonly assertions: Assertions
  readonly identify: Identify
  /** Who gave an earlier verdict, as their login says now; undefined if it is asked and does not say. */
  again(earlier: Reviewer): Promise<Reviewer | undefined>
  readonly meter: Meter
  readonly log: Log
  /** The line of a call that has ended. */
  readonly access: Access['line'] | undefined
  /** This process's clock. Deadlines of holds are the store's, never this. */
  readonly clock: () => number
}
