import type { ServerResponse } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import { TextHeadResponse, textHeadWorks } from '../../plugins/lib/response-head.ts'

/**
 * For the options of Node's HTTP servers: the class of responses that put finished text into their heads. Without it, the
 * plugins set each header of each reply, which is slower and gives the same replies.
 */
export function quickHeads(isWanted: boolean, log: FastifyBaseLogger): { ServerResponse?: typeof ServerResponse } {
  if (!isWanted) return {}
  if (textHeadWorks()) return { ServerResponse: TextHeadResponse }
  log.warn({ shortcut: 'heads' }, 'this Node puts replies together in another way; headers are set one by one, slower')
  return {}
}
