// A small upstream for the stories: keeps every request exactly as it arrived and answers what the story says.
import { startServer, text } from '../../src/commands/demo/server.ts'

export type Seen = {
  readonly method: string
  readonly target: string
  /** Names in the sender's case, in order. */
  readonly rawHeaders: readonly string[]
  readonly headers: { readonly [name: string]: string | string[] | undefined }
  readonly body: string
}

export type Answer = {
  readonly status?: number
  readonly headers?: { readonly [name: string]: string }
  readonly body?: string
}

export type Upstream = {
  readonly url: string
  /** Oldest first. */
  readonly seen: readonly Seen[]
  /** Resolves as soon as `count` requests have arrived. */
  arrived(count: number): Promise<void>
  close(): Promise<void>
}

/** Starts an upstream; without `answer` it says 200 and the number of the request. */
export const startUpstream = async (answer?: (seen: Seen) => Answer | Promise<Answer>): Promise<Upstream> => {
  const seen: Seen[] = []
  let waiting: { readonly count: number; readonly resolve: () => void }[] = []
  const server = await startServer(0, async (request, response) => {
    const { method = '', url = '', rawHeaders, headers } = request
    const one: Seen = { method, target: url, rawHeaders, headers, body: await text(request) }
    seen.push(one)
    for (const { count, resolve } of waiting) if (count <= seen.length) resolve()
    waiting = waiting.filter(({ count }) => count > seen.length)
    const said = (await answer?.(one)) ?? { body: `answer ${seen.length}\n` }
    response.writeHead(said.status ?? 200, { 'content-type': 'text/plain', ...said.headers }).end(said.body)
  })
  return {
    url: server.url,
    seen,
    arrived: count =>
      count <= seen.length
        ? Promise.resolve()
        : new Promise(resolve => {
            waiting.push({ count, resolve })
          }),
    close: server.close,
  }
}
