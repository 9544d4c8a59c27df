// Opens a page in the browser of whoever sits at the terminal. Where nobody does, or there is none, the address that was printed has to do.
import { spawn } from 'node:child_process'

export const openPage = (url: string): void => {
  if (!process.stdout.isTTY) return
  const child = spawn(process.platform === 'darwin' ? 'open' : 'xdg-open', [url], { detached: true, stdio: 'ignore' })
  child.on('error', () => undefined)
  child.unref()
}
