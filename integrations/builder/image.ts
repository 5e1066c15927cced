import { BuildError, type Builder } from './port.ts'

/** Builds nothing: a deployment brings its image, and never comes here. */
export function createImageBuilder(): Builder {
  return {
    name: 'image',
    async build() {
      throw new BuildError('Nothing is built here: deploy an image that has been built elsewhere, by its digest.')
    }
  }
}
