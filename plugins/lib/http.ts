import type * as http from 'node:http'

/**
 * The parts of Node's `http` that we use. Not imported directly: importing one value reads all exports of the module,
 * and one of them loads Node's `fetch` client, which costs a tenth of a second and ten megabytes at startup.
 */
export const {
  Agent,
  createServer,
  IncomingMessage,
  request,
  ServerResponse,
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue
} = process.getBuiltinModule('node:http')

export type Agent = http.Agent
export type IncomingMessage = http.IncomingMessage
export type ServerResponse<Request extends http.IncomingMessage = http.IncomingMessage> = http.ServerResponse<Request>
