"""The handler of the web function as a Flask and as a Starlette application: whichever of the two is installed."""
import index

try:
    import flask

    flask_application = flask.Flask(__name__)

    @flask_application.post("/")
    def respond():
        return flask.Response(index.respond(flask.request.get_data()), mimetype="application/json")
except ImportError:
    pass

try:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def respond_to(request):
        return Response(index.respond(await request.body()), media_type="application/json")

    starlette_application = Starlette(routes=[Route("/", respond_to, methods=["POST"])])
except ImportError:
    pass
