import { text } from './text.js'

const show = () => { document.querySelector('#app').textContent = text }
show()
if (module.hot) {
  module.hot.accept('./text.js', show)
}
