// Says what to do where Node is too old or the dependencies are missing. Plain JavaScript on purpose: it must parse everywhere.
import { existsSync } from 'node:fs'
import process from 'node:process'

const major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  process.stderr.write(
    `Holdpoint needs Node 24 or newer; this is ${process.version} (${process.execPath}).\n` +
      'Inside the repository `npm ci` brings its own Node 24, and `npm start` and `npm test` use it.\n' +
      'If they do not, install scripts were switched off: run `npm rebuild node`, or install Node 24 from nodejs.org.\n',
  )
  process.exit(1)
}
if (
  !existsSync(new URL('../node_modules', import.meta.url)) &&
  existsSync(new URL('../package-lock.json', import.meta.url))
) {
  process.stderr.write('The dependencies are not installed yet: run `npm ci` first.\n')
  process.exit(1)
}
