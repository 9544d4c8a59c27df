// A home of the audit log outside the store. A trail takes entries in order and may see one twice after a crash, never lose one.

/** One entry as it leaves: JSON with `seq` and `at` (RFC 3339, the store's clock) in front. */
export type Line = { readonly seq: number; readonly text: string }

export type Trail = {
  readonly name: string
  /** The newest sequence number this trail surely has; undefined if it cannot tell. */
  reached(): Promise<number | undefined>
  write(lines: readonly Line[]): Promise<void>
}
