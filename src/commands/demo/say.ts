// What the demo says on the terminal: numbered steps, indented lines, and checks. Colour only where somebody looks at it.
import { styleText } from 'node:util'

export type Say = {
  /** Begins a step and numbers it. */
  step(title: string): void
  line(text?: string): void
  /** Something a party sees: who, and what. */
  sees(who: string, what: string): void
  /** A check: it is counted, and said whether it holds. */
  check(holds: boolean, claim: string): void
  /** How many checks did not hold. */
  failed(): number
}

const style = (format: Parameters<typeof styleText>[0], text: string): string =>
  styleText(format, text, { stream: process.stdout, validateStream: true })

export const emphasis = (text: string): string => style('bold', text)
export const address = (text: string): string => style('cyan', text)

export const terminal = (): Say => {
  let steps = 0
  let failed = 0
  const line = (text = ''): void => void process.stdout.write(`${text === '' ? '' : `  ${text}`}\n`)
  return {
    step(title) {
      steps += 1
      process.stdout.write(`\n${style('bold', `${steps}. ${title}`)}\n`)
    },
    line,
    sees(who, what) {
      const [first = '', ...rest] = what.trimEnd().split('\n')
      line(`${style('dim', who.padEnd(14))}${first}`)
      for (const more of rest) line(`${' '.repeat(14)}${more}`)
    },
    check(holds, claim) {
      if (!holds) failed += 1
      line(holds ? `${style('green', '✓')} ${claim}` : style('red', `✗ ${claim}`))
    },
    failed: () => failed,
  }
}
