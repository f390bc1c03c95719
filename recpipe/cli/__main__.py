from recpipe.cli import app

app()
