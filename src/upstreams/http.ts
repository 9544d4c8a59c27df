// Any HTTP API: an action is the method on the path. Bodies are read by the rules themselves (json, form).
// What goes through a tunnel is read by nobody, so its access is unknown; rules tell it by `fields: { upgrade: websocket }`.
import { plainRefusal, type UpstreamKind } from './upstream.ts'

const reads: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

export const http: UpstreamKind = {
  kind: 'http',
  volatileHeaders: [],
  strippedHeaders: [],
  upgrades: ['websocket'],
  describe({ call, path }) {
    return [
      {
        name: `http:${call.method}`,
        resource: path,
        access: call.upgrade !== undefined ? 'unknown' : reads.has(call.method) ? 'read' : 'write',
        fields: call.upgrade === undefined ? {} : { upgrade: call.upgrade },
      },
    ]
  },
  refusal: plainRefusal,
}
