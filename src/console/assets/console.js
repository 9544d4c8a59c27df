// What the pages do beyond plain forms and links: live updates, countdowns, keys. Everything works without it.
// It never decides: keys only move the focus, and fetched pages are read as documents, never as script.
const live = document.body.dataset.live
const soonMs = 5 * 60_000

// ---- countdowns

const span = ms => {
  const seconds = Math.floor(Math.abs(ms) / 1000)
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3_600) % 24,
    Math.floor(seconds / 60) % 60,
  ]
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`
  return minutes > 0 ? `${minutes} min` : `${seconds} s`
}

const countDown = () => {
  for (const time of document.querySelectorAll('time[data-due]')) {
    const left = Date.parse(time.dateTime) - Date.now()
    const words = left > 0 ? `${span(left)} left` : 'time is up'
    if (time.textContent !== words) time.textContent = words
    time.classList.toggle('soon', left < soonMs)
  }
}

const localTimes = () => {
  for (const time of document.querySelectorAll('time[datetime]')) time.title = new Date(time.dateTime).toLocaleString()
}

// ---- live updates

const ask = (method, address, form) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open(method, address)
    request.responseType = 'document'
    request.onload = () => resolve(request)
    request.onerror = () => reject(new Error('unreachable'))
    request.send(form)
  })

const writing = () => [...document.querySelectorAll('#live textarea')].some(field => field.value.trim() !== '')

// Focus survives a refresh: by link, by name, or by key.
const placeOf = element => {
  if (!element?.closest('#live')) return undefined
  if (element.getAttribute('href')) return `a[href="${CSS.escape(element.getAttribute('href'))}"]`
  if (element.dataset.key) return `[data-key="${CSS.escape(element.dataset.key)}"]`
  return element.name ? `[name="${CSS.escape(element.name)}"]` : undefined
}

// After a refused verdict the address in the bar is the form's; what is read again is always a page, never a form.
const address = live === 'queue' ? `/${location.search}` : `/holds/${live}`

const refresh = async () => {
  const request = await ask('GET', address).catch(() => undefined)
  const fresh = request?.response?.getElementById('live')
  const old = document.getElementById('live')
  // Not there any more: the page itself says so better than we can.
  if (request && !fresh && request.status < 500) return location.assign(address)
  if (!fresh || !old || (old.dataset.as && old.dataset.as === fresh.dataset.as)) return
  if (writing()) {
    document.getElementById('moved').hidden = false
    return
  }
  const place = placeOf(document.activeElement)
  old.replaceWith(document.adoptNode(fresh))
  document.title = request.response.title
  const said = document.getElementById('said')
  const words = request.response.getElementById('said')?.textContent
  if (said && words && said.textContent !== words) said.textContent = words
  if (place) document.querySelector(place)?.focus()
  localTimes()
  countDown()
  filter()
  if (live === 'queue') notify()
  else say('This call has changed: the page shows it as it is now.')
}

const say = words => {
  const said = document.getElementById('said')
  if (said) said.textContent = words
}

// A page that redirects is a page that wants a sign-in.
const leaveIfSignedOut = async () => {
  const answer = await fetch(address, { method: 'HEAD', redirect: 'manual' }).catch(() => undefined)
  if (answer?.type === 'opaqueredirect') location.assign(address)
}

let planned
const plan = () => {
  clearTimeout(planned)
  planned = setTimeout(refresh, 150)
}

const follow = () => {
  const source = new EventSource('/api/events')
  let opened = false
  source.addEventListener('open', () => {
    // What happened between the page and the first event, or while the connection was gone.
    plan()
    opened = true
    document.body.classList.remove('offline')
  })
  source.addEventListener('hold', event => {
    const { id } = JSON.parse(event.data)
    if (live === 'queue' || live === id) plan()
  })
  source.addEventListener('gap', plan)
  source.addEventListener('error', () => {
    document.body.classList.add('offline')
    if (source.readyState !== EventSource.CLOSED) return
    leaveIfSignedOut()
    setTimeout(follow, opened ? 5_000 : 30_000)
  })
}

// ---- notifications, on request

const bell = document.querySelector('[data-notify]')
const waiting = () => [...document.querySelectorAll('[data-mine] [data-hold]')].map(row => row.dataset.hold)
let known = new Set()

const notifies = () =>
  'Notification' in window && Notification.permission === 'granted' && localStorage.getItem('notify') === 'on'

// What came since the page was last read; what a call says stays on the page.
const notify = () => {
  const fresh = waiting().filter(id => !known.has(id))
  known = new Set([...known, ...waiting()])
  if (fresh.length === 0 || !notifies() || document.hasFocus()) return
  const words = fresh.length === 1 ? 'A call waits for you' : `${fresh.length} calls wait for you`
  const note = new Notification('Holdpoint', { body: words, tag: 'holdpoint' })
  note.onclick = () => {
    window.focus()
    if (fresh.length === 1) location.assign(`/holds/${fresh[0]}`)
  }
}

const showBell = () => {
  bell.textContent = notifies() ? 'Stop notifying me' : 'Notify me'
  bell.setAttribute('aria-pressed', String(notifies()))
}

const ring = async () => {
  const on = notifies()
  if (!on && (await Notification.requestPermission()) !== 'granted') {
    say('The browser does not allow notifications from here.')
    return
  }
  localStorage.setItem('notify', on ? 'off' : 'on')
  showBell()
}

// ---- hidden values

// One value is shown in its place, so that what was written and what was shown before stay as they are.
const reveal = async form => {
  const item = form.closest('[data-look]')
  const answer = await ask('POST', form.action, new URLSearchParams(new FormData(form))).catch(() => undefined)
  const shown = [...(answer?.response?.querySelectorAll('[data-look]') ?? [])].find(
    one => one.dataset.look === item.dataset.look,
  )
  // The page that says why not is the form's own answer.
  if (answer?.status !== 200 || !shown) return form.submit()
  item.replaceWith(document.adoptNode(shown))
  for (const name of ['[data-confirm]', '[data-left]', '#hidden']) {
    const fresh = [...answer.response.querySelectorAll(name)]
    for (const [index, old] of document.querySelectorAll(name).entries()) {
      if (fresh[index]) old.replaceWith(document.adoptNode(fresh[index]))
    }
  }
  shown.querySelector('pre')?.focus()
}

document.addEventListener('submit', event => {
  if (!event.target.matches('form[data-reveal]')) return
  event.preventDefault()
  reveal(event.target)
})

// ---- filter

const field = document.querySelector('[data-filter]')
const filter = () => {
  if (live !== 'queue' || !field) return
  const wanted = field.value.trim().toLowerCase()
  for (const row of document.querySelectorAll('[data-row]'))
    row.hidden = !row.textContent.toLowerCase().includes(wanted)
}

// ---- keys

const dialog = document.getElementById('keys')
const toggle = document.getElementById('keys-on')
const keysOn = () => localStorage.getItem('keys') !== 'off'

const step = by => {
  const links = [...document.querySelectorAll('[data-row]:not([hidden]) a')].filter(link =>
    link.matches('.row-line, td:first-child a'),
  )
  const at = links.indexOf(document.activeElement)
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))]
  next?.focus()
  next?.scrollIntoView({ block: 'nearest' })
}

// In the queue a verdict begins on the call's own page: nobody decides what they have not opened.
const begin = key => {
  const row = live === 'queue' ? document.activeElement.closest('[data-hold]') : undefined
  if (row) location.assign(`/holds/${row.dataset.hold}#${key}`)
  else document.querySelector(`[data-key="${key}"]`)?.focus()
}

const keys = {
  j: () => step(1),
  k: () => step(-1),
  a: () => begin('a'),
  d: () => begin('d'),
  c: () => document.querySelector('.decision textarea')?.focus(),
  '/': () => field?.focus(),
  '?': () => dialog?.showModal(),
}

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || dialog?.open) return
  if (event.target.closest('input, textarea, select')) {
    if (event.key === 'Enter' && event.target === field && live === 'queue') {
      event.preventDefault()
      step(1)
    }
    return
  }
  const act = keysOn() || event.key === '?' ? keys[event.key] : undefined
  if (!act) return
  event.preventDefault()
  act()
})

// ---- begin

if (toggle) {
  toggle.checked = keysOn()
  toggle.addEventListener('change', () => localStorage.setItem('keys', toggle.checked ? 'on' : 'off'))
}
if (live === 'queue' && field) {
  field.closest('label').hidden = false
  field.addEventListener('input', filter)
}
if (bell && 'Notification' in window) {
  bell.hidden = false
  bell.addEventListener('click', ring)
  showBell()
}
known = new Set(waiting())
if (live !== 'queue' && /^#[ad]$/.test(location.hash))
  document.querySelector(`[data-key="${location.hash[1]}"]`)?.focus()
localTimes()
countDown()
setInterval(countDown, 1_000)
if (live) follow()
