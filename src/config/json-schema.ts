// The JSON Schema (2020-12) of the configuration file and of a file of rules, for editors. It is made from what reads them.
import { z } from 'zod'
import * as rules from './rules-schema.ts'
import * as schema from './schema.ts'

/** `rules`: of a file of rules instead of the configuration file. */
export const settingsSchema = ({ rules: ofRules = false } = {}): object => ({
  title: ofRules ? 'Holdpoint rules' : 'Holdpoint configuration',
  ...z.toJSONSchema(ofRules ? rules.file : schema.file, { io: 'input', target: 'draft-2020-12' }),
})
