// A hold's life as one table: which move leads from which state to which. Both stores obey it; one test grid reads it.
//
//   pending ──approve──▶ approved ──release──▶ released ──deliver──▶ delivered
//      │                    │  ▲                  │ ├─────fail─────▶ failed
//      ├─deny──▶ denied     │  └─────return───────┘ ├─────lose─────▶ unknown ──deliver/fail (same fence)──▶
//      ├─expire▶ expired    ├─lapse──▶ lapsed       └────revoke────▶ revoked  (open tunnels)
//      ├─cancel▶ cancelled  ├─revoke─▶ revoked                       unknown ──resolve──▶ delivered | failed
//      ├─void──▶ void       └─void───▶ void
//      └─grant─▶ released   (a grant stands for its verdicts: no approval in between)
//
// `vote` is an approval that does not suffice yet; `renew` keeps a lease; `touch` notes facts that decide nothing.

export const states = [
  'pending',
  'approved',
  'released',
  'delivered',
  'failed',
  'unknown',
  'denied',
  'expired',
  'cancelled',
  'lapsed',
  'revoked',
  'void',
] as const

export type State = (typeof states)[number]

export const moves = {
  vote: { pending: 'pending' },
  approve: { pending: 'approved' },
  deny: { pending: 'denied' },
  expire: { pending: 'expired' },
  cancel: { pending: 'cancelled' },
  void: { pending: 'void', approved: 'void' },
  release: { approved: 'released' },
  grant: { pending: 'released' },
  lapse: { approved: 'lapsed' },
  revoke: { approved: 'revoked', released: 'revoked' },
  renew: { released: 'released' },
  deliver: { released: 'delivered', unknown: 'delivered' },
  fail: { released: 'failed', unknown: 'failed' },
  return: { released: 'approved' },
  lose: { released: 'unknown' },
  resolve_delivered: { unknown: 'delivered' },
  resolve_failed: { unknown: 'failed' },
  touch: { pending: 'pending', approved: 'approved', released: 'released', delivered: 'delivered', unknown: 'unknown' },
} as const satisfies Record<string, Partial<Record<State, State>>>

export type MoveName = keyof typeof moves

/** Where `move` leads from `state`, or undefined if the table does not have it. */
export const next = (move: MoveName, state: State): State | undefined =>
  (moves[move] as Partial<Record<State, State>>)[state]

/** Live holds count towards the caps, keep their sealed request and have a deadline. */
export const live: ReadonlySet<State> = new Set<State>(['pending', 'approved', 'released'])

/** What the access request profile calls each state (facts: richer states collapse to `approved` with a delivery state). */
export const taskStatus: Record<State, 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled' | 'failed'> = {
  pending: 'pending',
  approved: 'approved',
  released: 'approved',
  delivered: 'approved',
  unknown: 'approved',
  lapsed: 'approved',
  revoked: 'approved',
  failed: 'failed',
  void: 'failed',
  denied: 'denied',
  expired: 'expired',
  cancelled: 'cancelled',
}
