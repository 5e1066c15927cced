import { type Command, CommandError, defineCommand } from '../command.ts'

/** A command for a feature that this version does not have: prints so, and names the alternative. */
function absent(name: string, summary: string, args: readonly string[], instead: string): Command {
  return defineCommand({
    name,
    summary: `${summary.replace(/\.$/, '')} (not in this version).`,
    args,
    forDeployers: true,
    async run() {
      throw new CommandError(`this version of Rhone has no ${name}: ${instead}`)
    }
  })
}

const ONE_URL = 'each app is served under the one URL that rhone apps show prints'

export const domainsList = absent('domains list', 'List the domains of an app.', ['[app]'], ONE_URL)
export const domainsAdd = absent('domains add', 'Serve an app under a domain of yours.', ['<domain>'], ONE_URL)
export const domainsCheck = absent('domains check', 'Check the DNS records of a domain.', ['<domain>'], ONE_URL)
export const domainsRemove = absent('domains remove', 'Take a domain from an app.', ['<domain>'], ONE_URL)
export const run = absent(
  'run',
  'Run one command with the code and the env vars of an app.',
  ['<command>...'],
  'what has to run before a new version serves belongs into its build or start script'
)
