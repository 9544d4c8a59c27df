// holdpoint deny: opens the page of a hold, where it is decided. A token that lies on a disk decides nothing.
import type { Command } from 'commander'
import { registerDecide } from './decide-page.ts'

export const registerDeny = (program: Command): void => registerDecide(program, 'deny')
