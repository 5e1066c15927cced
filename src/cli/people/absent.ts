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

const ONE_URL = 'each app has one URL, which rhone apps show prints'

export const domainsList = absent('domains list', 'List the domains of an app.', ['[app]'], ONE_URL)
export const domainsAdd = absent('domains add', 'Add your own domain to an app.', ['<domain>'], ONE_URL)
export const domainsCheck = absent('domains check', 'Check the DNS records of a domain.', ['<domain>'], ONE_URL)
export const domainsRemove = absent('domains remove', 'Remove a domain from an app.', ['<domain>'], ONE_URL)
export const run = absent(
  'run',
  'Run a one-off command with the code and env vars of an app.',
  ['<command>...'],
  'run migrations and the like from the build or start script of the app'
)
