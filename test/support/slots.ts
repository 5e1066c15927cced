import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import chores from '../../plugins/chores.ts'
import type { Swaps } from '../../src/app.ts'
import { slots } from '../../src/slots.ts'

/** Puts a plugin into the server: into its slot or, where there is none of that name, before the routes. */
export function inSlot(name: string, plugin: FastifyPluginAsync): Swaps {
  const own = fp(plugin)
  if (slots.some(slot => slot.name === name)) return { [name]: own }
  return {
    chores: fp(async (app: FastifyInstance, options: object) => {
      await app.register(own)
      await app.register(chores, options)
    })
  }
}
