// holdpoint approve: opens the page of a hold, where it is decided. A token that lies on a disk decides nothing.
import type { Command } from 'commander'
import { registerDecide } from './decide-page.ts'

export const registerApprove = (program: Command): void => registerDecide(program, 'approve')
