"""The handler as a Flask application."""
import flask
import index

application = flask.Flask(__name__)


@application.post("/")
def invoke():
    return flask.jsonify(index.handler(flask.request.get_json(), None))
