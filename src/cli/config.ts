import { ConfigError } from '../config/index.ts'
import { describe, type Printable } from '../config/shown.ts'
import { warningsOf } from '../config/warnings.ts'
import { defineCommand } from './command.ts'
import { facts } from './format.ts'

export const configCheck = defineCommand({
  name: 'config check',
  summary: 'List all problems of the environment, and exit with 78 if there are any; warn about doubtful settings.',
  printsData: true,
  async run({ config, variables, note }) {
    const settings = await config()
    await refuseUnknownSlots(Object.keys(settings.swaps))
    const warnings = warningsOf(settings, await variables())
    for (const warning of warnings) note(`warning: ${warning}`)
    note(`the environment is valid for ${settings.environment}`)
    return { data: { environment: settings.environment, warnings }, text: '' }
  }
})

export const configPrint = defineCommand({
  name: 'config print',
  summary: 'Print the effective settings; secrets are masked.',
  printsData: true,
  async run({ config }) {
    const data = describe(await config())
    return { data, text: facts(Object.fromEntries(flatten(data))) }
  }
})

async function refuseUnknownSlots(names: readonly string[]): Promise<void> {
  const { slots } = await import('../slots.ts')
  const unknown = names.filter(name => !slots.some(slot => slot.name === name))
  if (unknown.length > 0) throw new ConfigError(unknown.map(name => `RHONE_SWAP: there is no slot "${name}"`))
}

function flatten(settings: ReturnType<typeof describe>): [string, string][] {
  return Object.entries(settings).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).map(([key, inner]): [string, string] => [`${name}.${key}`, text(inner)])
      : [[name, text(value)] as [string, string]]
  )
}

function text(value: Printable): string {
  return value === null || value === '' ? '-' : String(value)
}
