// The API's description (OpenAPI 3.1), written by hand; test/console.test.ts holds it to the routes that exist.
import { errors } from '../errors.ts'
import { states } from '../states.ts'

const text = { type: 'string' }
const instant = { type: 'string', format: 'date-time' }
const count = { type: 'integer', minimum: 0 }
const list = (items: object): object => ({ type: 'array', items })
const record = (properties: object, required: readonly string[] = Object.keys(properties)): object => ({
  type: 'object',
  properties,
  required,
})
const ref = (name: string): object => ({ $ref: `#/components/schemas/${name}` })
const parameter = (name: string, place: 'query' | 'header', description: string, schema: object = text): object => ({
  name,
  in: place,
  description,
  schema,
})

const freezeKind = { type: 'string', enum: ['caller', 'person', 'upstream', 'all'] }
const status = { type: 'string', enum: [...states] }
const action = record({
  name: text,
  resource: text,
  access: { type: 'string', enum: ['read', 'write', 'permissions', 'credentials', 'unknown'] },
  fields: { type: 'object', additionalProperties: text },
})
const caller = record(
  {
    issuer: text,
    subject: text,
    kind: { type: 'string', enum: ['agent', 'workload', 'human'] },
    name: text,
    email: text,
    client: text,
  },
  ['issuer', 'subject', 'kind'],
)
const row = {
  id: text,
  status: ref('Status'),
  line: { type: 'string', description: 'What would happen, in one line; masked.' },
  action: ref('Action'),
  upstream: text,
  caller: ref('Caller'),
  behind: record({ people: list(text), known: { type: 'boolean' } }),
  rules: list(text),
  votes: record({ have: count, needed: count }),
  opened_at: instant,
  expires_at: instant,
  closed_at: instant,
  delivery: record(
    { state: { type: 'string', enum: ['delivered', 'failed', 'unknown'] }, status: count, at: instant },
    ['state', 'at'],
  ),
  break_glass: { type: 'boolean', description: 'Somebody let it go by breaking the glass.' },
  you: record(
    {
      may_decide: { type: 'boolean' },
      because: { type: 'string', description: 'An error code: why you may not decide.' },
      detail: text,
      may_revoke: { type: 'boolean' },
      may_resolve: { type: 'boolean' },
      may_break_glass: { type: 'boolean' },
    },
    ['may_decide', 'may_revoke', 'may_resolve', 'may_break_glass'],
  ),
}
const rowRequired = Object.keys(row).filter(name => !['closed_at', 'delivery', 'break_glass'].includes(name))
const hold = {
  ...row,
  view: { type: 'string', description: 'Send it back with a verdict: the verdict is for exactly this view.' },
  reason: { type: 'string', description: "The caller's own words; nobody has checked them." },
  approvers: list(text),
  request: record({
    method: text,
    target: text,
    headers: list({ type: 'array', items: text, minItems: 2, maxItems: 2 }),
    body: {
      oneOf: [
        record({ kind: { const: 'none' } }),
        record({ kind: { const: 'shown' }, type: text, size: count, text, cut: { type: 'boolean' } }),
        record({ kind: { const: 'opaque' }, type: text, size: count, why: text }),
      ],
    },
  }),
  hidden: record({ bytes: count, of: count, unseen: list(text) }),
  digest: text,
  verdicts: list(
    record(
      {
        reviewer: text,
        login: text,
        verdict: { type: 'string', enum: ['approve', 'deny', 'break_glass'] },
        comment: text,
        at: instant,
      },
      ['reviewer', 'login', 'verdict', 'at'],
    ),
  ),
  approved_until: instant,
  comment_required: { type: 'boolean' },
  step_up: {
    ...record({ acr_values: list(text), max_age: count, met: { type: 'boolean' } }, ['acr_values', 'met']),
    description: 'What sign-in the rules want of whoever lets it go (RFC 9470), and whether yours is one.',
  },
  frozen: { type: 'string', description: 'Why an operator stopped calls like this: it is not sent while that lasts.' },
  earlier: record({ id: text, status: ref('Status'), at: instant }),
  why: text,
}
const holdRequired = [
  ...rowRequired,
  'view',
  'approvers',
  'request',
  'hidden',
  'digest',
  'verdicts',
  'comment_required',
]

const problems = { default: { $ref: '#/components/responses/Problem' } }
const answers = (schema: object): object => ({
  200: { description: 'Done', content: { 'application/json': { schema } } },
  ...problems,
})
const id = { name: 'id', in: 'path', required: true, description: 'Id of the hold', schema: text }
const reads = (summary: string, schema: object, parameters: readonly object[] = []): object => ({
  get: { summary, parameters, responses: answers(schema) },
})
const posts = (summary: string, members: object, required: readonly string[] = []): object => ({
  post: {
    summary,
    parameters: [id, csrf],
    requestBody: {
      required: true,
      content: { 'application/json': { schema: { ...record(members, required), additionalProperties: false } } },
    },
    responses: answers(ref('Hold')),
  },
})
const comment = { type: 'string', maxLength: 2000 }
const csrf = parameter(
  'X-CSRF-Token',
  'header',
  'Needed with a session cookie: the token of the page (meta name="csrf"). Not with a bearer token.',
)
const freezeId = { ...id, description: 'Id of the freeze' }
const freezes = record({ freezes: list(ref('Freeze')) })
const view = { type: 'string', description: 'The `view` of the hold as you saw it.' }
const limit = (max: number): object =>
  parameter('limit', 'query', 'How many at most', { type: 'integer', minimum: 1, maximum: max })

const paths = {
  '/api/holds': reads('Holds you may see', record({ holds: list(ref('Row')), next: text }, ['holds']), [
    parameter('status', 'query', 'pending (default), open, closed, or one state', {
      type: 'string',
      enum: ['open', 'closed', ...states],
    }),
    limit(200),
    parameter('after', 'query', '`next` of the answer before'),
    parameter('caller', 'query', 'Only of this caller'),
    parameter('rule', 'query', 'Only held by this rule'),
    parameter('upstream', 'query', 'Only for this upstream'),
    parameter('reviewer', 'query', 'Only decided by this reviewer'),
  ]),
  '/api/holds/{id}': reads('One hold', ref('Hold'), [id]),
  '/api/holds/{id}/approve': posts('Approve', { comment, view }),
  '/api/holds/{id}/deny': posts('Deny', { comment, view }),
  '/api/holds/{id}/break-glass': posts(
    'Let it go alone, in an emergency, if its rules name you for that',
    { comment, view },
    ['comment'],
  ),
  '/api/holds/{id}/revoke': posts('Take an approval back before it is used', { comment }),
  '/api/holds/{id}/resolve': posts(
    'Say what became of a delivery whose fate is unknown',
    { comment, outcome: { type: 'string', enum: ['delivered', 'failed'] } },
    ['outcome'],
  ),
  '/api/freezes': {
    ...reads('What is stopped now, for operators and auditors', freezes),
    post: {
      summary: 'Stop calls of a caller, of a person, to an upstream, or all; for operators',
      parameters: [csrf],
      requestBody: {
        required: true,
        content: {
          'application/json': {
            schema: {
              ...record(
                {
                  what: freezeKind,
                  value: { type: 'string', maxLength: 256, description: 'Which one; none for `all`.' },
                  reason: comment,
                  until: { ...instant, description: 'When it ends by itself.' },
                },
                ['what', 'reason'],
              ),
              additionalProperties: false,
            },
          },
        },
      },
      responses: answers(ref('Freeze')),
    },
  },
  '/api/freezes/{id}': {
    delete: { summary: 'Lift a freeze, for operators', parameters: [freezeId, csrf], responses: answers(freezes) },
  },
  '/api/audit': reads(
    'The audit log, for auditors',
    record({ entries: list(ref('Entry')), next: count }, ['entries']),
    [
      parameter('after', 'query', 'Entries after this number, oldest first', count),
      parameter('before', 'query', 'Entries before this number, newest first', count),
      limit(1000),
    ],
  ),
  '/api/rules': reads(
    'Rules in force, in order',
    record({ rules: list(record({ name: text, then: text, where: text, hash: text, line: text })) }),
  ),
  '/api/events': {
    get: {
      summary:
        'Live updates (server-sent events): `hold` with {id, status, rev}; `gap`: events were missed, read the list again',
      parameters: [parameter('Last-Event-ID', 'header', 'Go on after this event')],
      responses: { 200: { description: 'A stream', content: { 'text/event-stream': { schema: text } } }, ...problems },
    },
  },
  '/api/openapi.json': { get: { summary: 'This description', security: [], responses: answers({ type: 'object' }) } },
}

/** @param consoleUrl the console's public address */
export const openapi = (consoleUrl: string) => ({
  openapi: '3.1.0',
  info: {
    title: 'Holdpoint console',
    version: '1',
    description:
      'Read and decide held calls. A verdict counts only from a person who signed in interactively and is not behind the call. ' +
      "A bearer token needs the audience of console.audience; it may decide if it meets the login's `interactive` and was made in the last 15 minutes.",
  },
  servers: [{ url: consoleUrl }],
  security: [{ session: [] }, { bearer: [] }],
  paths,
  components: {
    securitySchemes: {
      session: {
        type: 'apiKey',
        in: 'cookie',
        name: consoleUrl.startsWith('https:') ? '__Host-holdpoint' : 'holdpoint_session',
      },
      bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
    },
    responses: {
      Problem: {
        description: 'What went wrong (RFC 9457)',
        content: { 'application/problem+json': { schema: ref('Problem') } },
      },
    },
    schemas: {
      Status: status,
      Action: action,
      Caller: caller,
      Row: record(row, rowRequired),
      Hold: record(hold, holdRequired),
      Freeze: record(
        {
          id: text,
          what: freezeKind,
          value: text,
          reason: text,
          by: record({ login: text, name: text }),
          made_at: instant,
          until: instant,
        },
        ['id', 'what', 'reason', 'by', 'made_at'],
      ),
      Entry: record({ seq: count, at: instant, kind: text }),
      Problem: record(
        {
          type: text,
          title: text,
          status: count,
          detail: text,
          code: { type: 'string', enum: Object.keys(errors) },
          retryable: { type: 'boolean' },
          hold: text,
        },
        ['type', 'title', 'status', 'code', 'retryable'],
      ),
    },
  },
})
