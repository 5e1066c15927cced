import { optional, section, text } from './section.ts'

/** The server that the command line talks to. */
export interface ClientSettings {
  readonly client: { readonly url: string | null; readonly token: string | null }
}

const variables = {
  RHONE_URL: optional(text('Command line: the server to use; the local one when unset.')),
  RHONE_TOKEN: optional(text('Command line: the API token; DATA_DIR/operator-token when unset.'))
}

export default section(variables, ({ env }): ClientSettings => {
  return { client: { url: env.RHONE_URL ?? null, token: env.RHONE_TOKEN ?? null } }
})
