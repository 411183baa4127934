import { text } from './text.js'

const show = (t) => { document.querySelector('#app').textContent = t }
show(text)
if (import.meta.hot) {
  import.meta.hot.accept('./text.js', (next) => show(next.text))
}
