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
    owner: text,
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
  partly_seen: { ...count, description: 'How many values are hidden because they look secret.' },
  you: record(
    {
      may_decide: { type: 'boolean' },
      because: { type: 'string', description: 'An error code: why you may not decide.' },
      detail: text,
      may_revoke: { type: 'boolean' },
      may_resolve: { type: 'boolean' },
      may_break_glass: { type: 'boolean' },
      may_reveal: { type: 'boolean', description: 'You may have single hidden values revealed.' },
    },
    ['may_decide', 'may_revoke', 'may_resolve', 'may_break_glass', 'may_reveal'],
  ),
}
const rowRequired = Object.keys(row).filter(
  name => !['closed_at', 'delivery', 'break_glass', 'partly_seen'].includes(name),
)
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
        record({ kind: { const: 'shown' }, type: text, size: count, text, unshown: text }, [
          'kind',
          'type',
          'size',
          'text',
        ]),
        record({ kind: { const: 'opaque' }, type: text, size: count, why: text }),
      ],
    },
  }),
  preview: {
    description: 'What the upstream said, when the hold opened, this would change.',
    oneOf: [record({ kind: { const: 'shown' }, text }), record({ kind: { const: 'none' }, why: text })],
  },
  hidden: {
    ...record({
      bytes: count,
      of: count,
      unseen: list(text),
      looked_at: list(text),
      not_looked_at: count,
      must_confirm: { type: 'boolean' },
    }),
    description:
      'What is not shown. `unseen`: paths of values hidden because they look secret; `looked_at`: those of them that you had revealed; ' +
      '`must_confirm`: an approval has to send `unseen` with the number `not_looked_at`.',
  },
  policy: record({ config: text, rules: list(text) }),
  digest: text,
  verdicts: list(
    record(
      {
        reviewer: text,
        login: text,
        verdict: { type: 'string', enum: ['approve', 'deny', 'break_glass'] },
        comment: text,
        unseen: { ...count, description: 'How many hidden values they had not looked at.' },
        at: instant,
      },
      ['reviewer', 'login', 'verdict', 'at'],
    ),
  ),
  approved_until: instant,
  comment_required: { type: 'boolean' },
  may_grant: { type: 'boolean', description: 'Its rule lets reviewers grant calls like it.' },
  granted: { type: 'string', description: 'The grant that its verdicts made.' },
  by_grant: {
    ...record({ id: text, by: text }),
    description: 'The grant that let it go, and its makers; nobody was asked about this call.',
  },
  step_up: {
    ...record({ acr_values: list(text), max_age: count, met: { type: 'boolean' } }, ['acr_values', 'met']),
    description: 'What sign-in the rules want of whoever lets it go (RFC 9470), and whether yours is one.',
  },
  unreached: {
    type: 'string',
    description: 'Why nobody was told of it: no channel of its rules could be reached so far.',
  },
  frozen: { type: 'string', description: 'Why an operator stopped calls like this: it is not sent while that lasts.' },
  earlier: record({ id: text, status: ref('Status'), at: instant }),
  why: text,
}
const holdRequired = [
  ...rowRequired,
  'view',
  'approvers',
  'policy',
  'request',
  'hidden',
  'digest',
  'verdicts',
  'comment_required',
]

const grantTerms = {
  uses: { type: 'integer', minimum: 1 },
  for: { type: 'string', description: 'A duration such as 30m or 1h.' },
  rate: { type: 'string', description: 'Such as 5/m or 10/h.' },
  free: { ...list(text), description: 'Places whose value may be any, of those in `places`.' },
  resource: { type: 'string', description: '`*` stands for characters between two slashes.' },
}
const grantSaid = { terms: record(grantTerms, ['uses', 'for', 'free']), words: list(text) }
const grantPlan = {
  ...grantSaid,
  hold: record({ id: text, line: text, view: text }),
  limits: record({ uses: count, for: text, rates: list(text) }),
  resource: record({ value: text, may_be_free: { type: 'boolean' } }),
  places: list(record({ place: text, type: text, may_be_free: { type: 'boolean' } })),
  proposed: { ...record(grantTerms, ['uses', 'for', 'free']), description: 'What others who approved it said.' },
  matched: record({
    days: count,
    of: count,
    all: { type: 'boolean', description: 'Every hold of these days was looked at.' },
    count,
    holds: list(record({ id: text, line: text, status: ref('Status'), opened_at: instant })),
  }),
}
const grant = {
  id: text,
  ...grantSaid,
  hold: { type: 'string', description: 'The hold that it was made from.' },
  status: { type: 'string', enum: ['live', 'used_up', 'ended', 'revoked', 'void'] },
  line: text,
  caller: ref('Caller'),
  behind: record({ people: list(text), known: { type: 'boolean' } }),
  rule: text,
  upstream: text,
  made_by: list(record({ login: text, name: text })),
  made_at: instant,
  until: instant,
  used: count,
  holds: list(record({ id: text, at: instant })),
  revoked: record({ by: text, at: instant, comment: text }, ['by', 'at']),
  you: record({ may_revoke: { type: 'boolean' } }),
}

const problems = { default: { $ref: '#/components/responses/Problem' } }
const answers = (schema: object): object => ({
  200: { description: 'Done', content: { 'application/json': { schema } } },
  ...problems,
})
const id = { name: 'id', in: 'path', required: true, description: 'Id of the hold', schema: text }
const reads = (summary: string, schema: object, parameters: readonly object[] = []): object => ({
  get: { summary, parameters, responses: answers(schema) },
})
const posts = (
  summary: string,
  members: object,
  required: readonly string[] = [],
  answer: object = ref('Hold'),
): object => ({
  post: {
    summary,
    parameters: [id, csrf],
    requestBody: {
      required: true,
      content: { 'application/json': { schema: { ...record(members, required), additionalProperties: false } } },
    },
    responses: answers(answer),
  },
})
const comment = { type: 'string', maxLength: 2000 }
const csrf = parameter(
  'X-CSRF-Token',
  'header',
  'Needed with a session cookie: the token of the page (meta name="csrf"). Not with a bearer token.',
)
const grantId = { ...id, description: 'Id of the grant' }
const freezeId = { ...id, description: 'Id of the freeze' }
const freezes = record({ freezes: list(ref('Freeze')) })
const view = { type: 'string', description: 'The `view` of the hold as you saw it.' }
const unseen = {
  ...count,
  description: '`hidden.not_looked_at`, where `hidden.must_confirm`: you approve without those.',
}
const outcome = { type: 'string', enum: ['allow', 'hold', 'deny'] }
const between = [
  parameter('from', 'query', 'Not before this day (UTC) or instant'),
  parameter('to', 'query', 'Up to this day (UTC, inclusive) or instant (exclusive)'),
]
const find = parameter('find', 'query', 'Only entries in which this text occurs')
const testCaller = record(
  {
    issuer: text,
    subject: text,
    kind: { type: 'string', enum: ['agent', 'workload', 'human'] },
    client: text,
    groups: list(text),
    owner: text,
    email: text,
    claims: { type: 'object' },
  },
  ['issuer', 'subject', 'kind'],
)
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
    ...between,
  ]),
  '/api/holds/{id}': reads('One hold', ref('Hold'), [id]),
  '/api/holds/{id}/approve': posts('Approve', { comment, view, unseen }),
  '/api/holds/{id}/deny': posts('Deny', { comment, view }),
  '/api/holds/{id}/break-glass': posts(
    'Let it go alone, in an emergency, if its rules name you for that',
    { comment, view, unseen },
    ['comment'],
  ),
  '/api/holds/{id}/reveal': posts(
    'Have one hidden value revealed, in this answer only, once that is on record',
    { field: { type: 'string', description: 'One of `hidden.unseen`.' }, view },
    ['field', 'view'],
    record({ field: text, values: list(text), not_looked_at: count }),
  ),
  '/api/holds/{id}/beside': reads(
    'What its caller did lately, and the same call waiting under other Idempotency-Keys',
    record({
      lately: list(record({ id: text, line: text, status: ref('Status'), opened_at: instant })),
      same: list(record({ id: text, view: text, opened_at: instant })),
    }),
    [id],
  ),
  '/api/holds/{id}/revoke': posts('Take an approval back before it is used', { comment }),
  '/api/holds/{id}/resolve': posts(
    'Say what became of a delivery whose fate is unknown',
    { comment, outcome: { type: 'string', enum: ['delivered', 'failed'] } },
    ['outcome'],
  ),
  '/api/holds/{id}/grant': {
    get: { summary: 'What a grant from this hold may say', parameters: [id], responses: answers(ref('GrantPlan')) },
    ...posts(
      'Approve, and with enough reviewers who say the same let calls like it go',
      { ...grantTerms, comment, view, unseen },
      ['uses', 'for'],
    ),
  },
  '/api/holds/{id}/grant/preview': {
    post: {
      summary: 'What these terms would let go, in words and among the calls of the last days; changes nothing',
      parameters: [id, csrf],
      requestBody: {
        required: true,
        content: {
          'application/json': { schema: { ...record(grantTerms, ['uses', 'for']), additionalProperties: false } },
        },
      },
      responses: answers(ref('GrantPlan')),
    },
  },
  '/api/grants': reads('Grants you may see, newest first', record({ grants: list(ref('Grant')) })),
  '/api/grants/{id}': reads('One grant', ref('Grant'), [grantId]),
  '/api/grants/{id}/revoke': {
    post: {
      summary: 'Revoke a grant: its makers, approvers of its rule, the people behind its caller, operators',
      parameters: [grantId, csrf],
      requestBody: {
        required: true,
        content: { 'application/json': { schema: { ...record({ comment }, []), additionalProperties: false } } },
      },
      responses: answers(ref('Grant')),
    },
  },
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
      find,
      ...between,
    ],
  ),
  '/api/audit/export': {
    get: {
      summary: 'The audit log from its beginning as JSON lines, for auditors',
      parameters: [find, ...between],
      responses: {
        200: { description: 'One entry a line', content: { 'application/x-ndjson': { schema: text } } },
        ...problems,
      },
    },
  },
  '/api/rules': reads(
    'Rules in force, in order',
    record({
      rules: list(record({ name: text, then: text, where: text, hash: text, line: text })),
      counts: record({ of: count, rules: { type: 'object', additionalProperties: ref('RuleCounts') } }),
    }),
  ),
  '/api/explain': {
    post: {
      summary: 'What the rules say of a call that is only described, and why',
      parameters: [csrf],
      requestBody: {
        required: true,
        content: {
          'application/json': {
            schema: {
              ...record(
                {
                  caller: { oneOf: [{ type: 'string', description: 'An entry of `callers`' }, testCaller] },
                  method: text,
                  url: { type: 'string', description: "Below the gate's address, such as /billing/v1/refunds" },
                  headers: { type: 'object', additionalProperties: text },
                  json: {},
                  form: { type: 'object', additionalProperties: text },
                  body: text,
                  at: instant,
                },
                ['caller', 'method', 'url'],
              ),
              additionalProperties: false,
            },
          },
        },
      },
      responses: answers(ref('Explained')),
    },
  },
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
      GrantPlan: record(
        grantPlan,
        Object.keys(grantPlan).filter(name => name !== 'proposed'),
      ),
      Grant: record(
        grant,
        Object.keys(grant).filter(name => name !== 'revoked'),
      ),
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
      RuleCounts: record(
        {
          ...{ held: count, waiting: count, approved: count, denied: count, expired: count },
          ...{ expiry_rate: { type: 'number' }, median_decision_s: count, partly_seen: count },
          hidden_at: list(record({ path: text, holds: count })),
        },
        ['held', 'waiting', 'approved', 'denied', 'expired', 'partly_seen', 'hidden_at'],
      ),
      Explained: record(
        {
          outcome,
          rule: text,
          rules: list(text),
          upstream: text,
          refused: record({ code: text, title: text, detail: text }, ['code', 'title']),
          readings: list(
            record(
              {
                path: text,
                action: ref('Action'),
                outcome,
                rules: list(
                  record({
                    name: text,
                    where: text,
                    then: outcome,
                    result: { type: 'string', enum: ['matched', 'noted', 'failed', 'unread', 'not reached'] },
                    keys: list(
                      record({ key: text, answer: { type: 'string', enum: ['yes', 'no', 'unknown', 'unread'] } }),
                    ),
                  }),
                ),
              },
              ['path', 'outcome', 'rules'],
            ),
          ),
        },
        ['outcome', 'rules', 'readings'],
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
