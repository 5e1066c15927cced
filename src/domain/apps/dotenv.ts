import { parseEnv } from 'node:util'
import { errors } from '../../../plugins/lib/errors.ts'

const NAME = /^[A-Z][A-Z0-9_]*$/

/**
 * Parses `NAME=value` lines of a `.env` file, with comments, quotes and `export`.
 * @throws AppError that names the first invalid line
 */
export function parseDotenv(text: string): [key: string, value: string][] {
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    const isContinued = /^[^#=]*$/.test(line) && /"[^"]*$/.test(text.split(/\r?\n/).slice(0, at).join('\n'))
    if (line.trim() === '' || line.trim().startsWith('#') || isContinued) continue
    const [name = ''] = line.replace(/^\s*export\s+/, '').split('=', 1)
    if (!line.includes('=')) throw errors.validation('lines', `line ${at + 1} must have the form NAME=value`)
    if (!NAME.test(name.trim()))
      throw errors.validation(
        'lines',
        `line ${at + 1}: "${name.trim().slice(0, 40)}" is not a valid name: use capital letters, digits and underscores, a letter first`
      )
  }
  return Object.entries(parseEnv(text)).map(([key, value]) => [key, value ?? ''])
}
