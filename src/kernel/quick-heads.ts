import type { ServerResponse } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import { TextHeadResponse, textHeadWorks } from '../../plugins/lib/response-head.ts'

/**
 * For the options of Node's HTTP servers: the response class that writes preformatted text into response heads. Without
 * it, the plugins set each header on each reply: slower, with identical replies.
 */
export function quickHeads(isWanted: boolean, log: FastifyBaseLogger): { ServerResponse?: typeof ServerResponse } {
  if (!isWanted) return {}
  if (textHeadWorks()) return { ServerResponse: TextHeadResponse }
  log.warn({ shortcut: 'heads' }, 'this Node version writes reply heads differently: using its slower standard way')
  return {}
}
