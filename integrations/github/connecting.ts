import type { FastifyReply, FastifyRequest } from 'fastify'
import type { BrowserState } from '../../plugins/lib/browser-state.ts'
import { errors } from '../../plugins/lib/errors.ts'
import type { ownersOf } from './owners.ts'
import type { Connected } from './port.ts'
import type { refusals } from './refusals.ts'

export interface ConnectingSettings {
  readonly browsers: BrowserState
  readonly owners: ReturnType<typeof ownersOf>
  readonly refuse: ReturnType<typeof refusals>
  /** GitHub's site. */
  readonly url: string
  readonly slug: string
  readonly clientId: string
  readonly callback: string
}

/** GitHub's query parameters on the way back. */
interface Answer {
  code?: string
  state?: string
  installation_id?: unknown
  setup_action?: string
  error?: string
  error_description?: string
}

/** Why a browser was sent to GitHub. */
interface ConnectIntent {
  readonly team: string
  /** Set when it is sent there for the second time. */
  readonly installation?: number
}

/** Connects an installation to a team: sends the browser to GitHub to install the App, and handles its return. */
export function connecting(settings: ConnectingSettings) {
  const { browsers, owners, refuse, url, clientId } = settings

  function begin(reply: FastifyReply, intent: ConnectIntent): string {
    return browsers.begin(reply, JSON.stringify(intent)).state
  }

  function intentOf(request: FastifyRequest, state: string | undefined): ConnectIntent {
    const roundTrip = browsers.read(request, state)
    if (typeof roundTrip === 'string') throw refuse[roundTrip]()
    return JSON.parse(roundTrip.payload)
  }

  function authorizeUrl(state: string): string {
    const query = new URLSearchParams({ client_id: clientId, redirect_uri: settings.callback, state })
    return `${url}/login/oauth/authorize?${query}`
  }

  return {
    connect(reply: FastifyReply, team: string): string {
      if (clientId === '') throw errors.notConfigured('The GitHub App')
      const state = begin(reply, { team })
      return `${url}/apps/${encodeURIComponent(settings.slug)}/installations/new?${new URLSearchParams({ state })}`
    },

    async connected(request: FastifyRequest, reply: FastifyReply): Promise<Connected> {
      const { code, state, error, ...answer } = request.query as Answer
      const { team, ...intent } = intentOf(request, state)
      const installation = idOf(answer.installation_id) ?? intent.installation
      // GitHub includes a code only if the App requests one during installation; otherwise, ask for it.
      if (code === undefined && error === undefined && installation !== undefined)
        return { redirect: authorizeUrl(begin(reply, { team, installation })) }

      browsers.clear(reply)
      if (error === 'access_denied') throw refuse.denied()
      if (error !== undefined) throw refuse.misconfigured(`${error}: ${answer.error_description}`)
      if (answer.setup_action === 'request') throw refuse.requested()
      if (installation === undefined || code === undefined) throw refuse.nothing()
      return { teamId: team, installation: await owners.installationOf(code, installation) }
    }
  }
}

const idOf = (value: unknown) => (/^[1-9]\d{0,14}$/.test(String(value)) ? Number(value) : undefined)
