import type { Command, Option } from './command.ts'

/**
 * The names and first sentences of the commands: first those for people who deploy, then those for platform operators.
 */
export function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(command => command.name.length))
  const row = ({ name, summary }: Command) => `  ${name.padEnd(width)}  ${firstSentence(summary)}`
  const parts: [heading: string, Command[]][] = [
    ['to deploy:', commands.filter(({ forDeployers }) => forDeployers)],
    ['to run the platform:', commands.filter(({ forDeployers }) => !forDeployers)]
  ]
  const sections = parts.flatMap(([heading, rows]) => (rows.length === 0 ? [] : ['', heading, ...rows.map(row)]))
  return ['usage: rhone <command> [options]', ...sections, '', 'rhone <command> --help lists its options.', ''].join(
    '\n'
  )
}

const firstSentence = (text: string) => (/^.*?[.;](?= |$)/.exec(text)?.[0] ?? text).replace(/;$/, '.')

export const usageOf = ({ name, args = [] }: Command) => `usage: rhone ${[name, ...args, '[options]'].join(' ')}`

export function helpOf(command: Command): string {
  const options: Record<string, Option> = { ...command.options }
  if (command.printsData) options.json = { type: 'boolean', description: 'Print the data as JSON.' }
  options.url = {
    type: 'string',
    value: '<url>',
    description: 'The server. Default: RHONE_URL, else the server of your login, else the local one.'
  }
  options.token = {
    type: 'string',
    value: '<token>',
    description: "The API token. Default: RHONE_TOKEN, else the one of your login, else the local operator's."
  }
  options.help = { type: 'boolean', description: 'Print this help.' }

  const left = Object.entries(options).map(([name, option]) => flag(name, option))
  const width = Math.max(...left.map(text => text.length))
  return [
    usageOf(command),
    '',
    `${command.summary}`,
    '',
    ...Object.values(options).map((option, row) => `  ${left[row]?.padEnd(width)}  ${option.description}`),
    ...(command.examples ?? [`rhone ${command.name}`]).flatMap((example, row) => [
      ...(row === 0 ? ['', 'for example:'] : []),
      `  ${example}`
    ]),
    ''
  ].join('\n')
}

function flag(name: string, option: Option): string {
  const value = option.type === 'string' ? ` ${option.value ?? '<text>'}` : ''
  const short = option.short === undefined ? '' : `-${option.short}, `
  return `${short}--${name}${value}${option.multiple ? ' ...' : ''}`
}
