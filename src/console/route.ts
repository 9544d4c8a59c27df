// One entry per address of the console. app.ts serves exactly these; the API's description is held to them by a test.
import type { Context } from 'hono'
import type { Env } from './visitor.ts'

export type Route = {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly answer: (context: Context<Env>) => Promise<Response>
}
