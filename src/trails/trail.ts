// A home of the audit log outside the store. A trail takes entries in order. It may see one twice after a crash, and never loses one.

/** One entry as it leaves: JSON with `seq` and `at` (RFC 3339, the store's clock) in front. */
export type Line = { readonly seq: number; readonly text: string }

export type Trail = {
  readonly name: string
  /** The last lines this trail surely has, oldest first; none if it is empty, undefined if it cannot tell. */
  tail(): Promise<readonly Line[] | undefined>
  write(lines: readonly Line[]): Promise<void>
}
