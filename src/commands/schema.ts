// holdpoint schema: the JSON Schema of the configuration, for editors.
import type { Command } from 'commander'
import { settingsSchema } from '../config/json-schema.ts'

export const registerSchema = (program: Command): void => {
  program
    .command('schema')
    .description('print the JSON Schema of the configuration')
    .option('--rules', 'of a file of rules instead')
    .addHelpText(
      'after',
      `
Editors with a YAML language server complete and check a file whose first line names the schema:
  # yaml-language-server: $schema=./holdpoint.schema.json

Examples:
  $ holdpoint schema > holdpoint.schema.json
  $ holdpoint schema --rules > rules.schema.json`,
    )
    .action((options: { rules?: true }) => {
      process.stdout.write(`${JSON.stringify(settingsSchema(options), null, 2)}\n`)
    })
}
