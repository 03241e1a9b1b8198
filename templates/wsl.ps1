# Starts an agent in WSL 2: powershell -ExecutionPolicy Bypass -File wsl.ps1 [-Distribution NAME]
# The distribution needs the engine in it.
param([string]$Distribution = '')
$ErrorActionPreference = 'Stop'
$folder = '/etc/octoperf-agent'
$asRoot = @('-u', 'root')
if ($Distribution -ne '') { $asRoot = @('-d', $Distribution) + $asRoot }

function Invoke-Wsl {
    # Without the distribution's shell, which would read the arguments once more.
    & wsl.exe @asRoot --exec @args
    if ($LASTEXITCODE -ne 0) { throw "wsl.exe ended with code $LASTEXITCODE" }
}

# WSL starts a program in the folder where it is called, by the name that the folder has in Linux.
Set-Location -LiteralPath $PSScriptRoot
# The folder is root's alone before the first secret stands in it.
Invoke-Wsl mkdir -p -m '0700' $folder
$files = @(
{% for file in files %}
    {{ file }}
{% endfor %}
)
foreach ($file in $files) {
    Invoke-Wsl install -m '0600' $file "$folder/$file"
}
Invoke-Wsl sh ("$folder/" + {{ script }})
