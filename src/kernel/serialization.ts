import serializerFactory from '@fastify/fast-json-stringify-compiler'

type Compiler = serializerFactory.SerializerCompiler
type Serializer = serializerFactory.Serializer

/**
 * Fastify's own serializers, each compiled when it is first needed. A start would wait for all of them, of which there is
 * one for every status of every route. A test sees to it that each can be compiled.
 */
export const buildSerializer: serializerFactory.SerializerFactory = (...settings) => {
  const compile: Compiler = serializerFactory()(...settings)
  return route => {
    let compiled: Serializer | undefined
    return document => {
      compiled ??= compile(route)
      return compiled(document)
    }
  }
}
