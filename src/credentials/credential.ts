// A credential of an upstream: made after release, bound to its upstream, never logged.
import type { Header } from '../nouns.ts'

export type Credential = {
  /** The headers that prove us to the upstream; they replace the caller's of the same names. Throws if they cannot be made. */
  headers(): Promise<readonly Header[]>
}
